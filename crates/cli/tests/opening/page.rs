//! The page as people meet it: a real browser, a real engine, and a network that goes away.

use std::time::Duration;

use giliran_nats::clock;
use serde_json::json;

use crate::browser::{Browser, ENTER};
use crate::rig::{Rig, Role, get, post};

const WITHIN: Duration = Duration::from_secs(20);
/// What nobody should be able to make of an office's name.
const EVIL: &str = "<img src=x onerror=document.title=1>";

/// Two offices, two days, opening in so many ms; returned places are drawn for.
fn config(opens_in_ms: i64, order: &str) -> String {
    let now = clock::now();
    let opens = match u64::try_from(opens_in_ms) {
        Ok(later) => now.plus_millis(later),
        Err(_) => now.minus_millis(opens_in_ms.unsigned_abs()),
    };
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{opens}\"\ncloses_at = \"{}\"\n\
         timezone = \"Asia/Jakarta\"\ndates = [\"2030-01-07\", \"2030-01-08\"]\n\
         [rules]\norder = \"{order}\"\nhold = \"2h\"\n\
         [rules.returns]\ncancelled = {{ at = [\"07:00\"] }}\n\
         [[office]]\nid = \"alpha\"\nname = \"Kantor Alpha, Batam\"\nquota = 2\n\
         [[office]]\nid = \"beta\"\nname = \"{EVIL}\"\nquota = 5\n",
        now.plus_millis(7_200_000)
    )
}

struct Site {
    rig: Rig,
    engine: Option<Role>,
    _gateway: Role,
    address: String,
}

impl Site {
    async fn new(config: &str) -> Self {
        let rig = Rig::new(config).await;
        rig.init();
        let engine = Some(rig.serve("a"));
        let gateway = rig.gateway(&[]);
        gateway.until("gateway", "following", WITHIN).await;
        let address = gateway.http().unwrap();
        // The catalogue comes a moment later.
        for _ in 0..200 {
            if get(&address, "/o/w").await.is_some_and(|page| page.contains("Kantor Alpha")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { rig, engine, _gateway: gateway, address }
    }

    fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many bookings there are, by the ledger.
    async fn bookings(&self) -> usize {
        self.rig.audit(&[]).await.bookings()
    }
}

async fn wish(browser: &Browser, office: &str, applicant: &str) {
    browser.choose("office0", office).await;
    browser.fill("input[name=applicant0]", applicant).await;
}

const ASK: &str = "form[data-wish] button";

#[tokio::test(flavor = "multi_thread")]
async fn without_script_a_place_is_booked_found_and_given_back() {
    let Some(browser) = Browser::start(false, "en").await else { return };
    let site = Site::new(&config(-1_000, "first-come")).await;
    browser.open(&site.at("/")).await;
    browser.state("form").await;
    wish(&browser, "alpha", "2171012345678901").await;
    browser.click(ASK).await;
    browser.until("h1", "Your place is held").await;
    browser.until(".number", "1").await;
    assert!(browser.text("main").await.contains("Kantor Alpha, Batam"));
    assert!(!browser.url().await.contains("2171012345678901"));
    browser.state("held").await;
    // A reload asks for nothing.
    browser.reload().await;
    browser.until(".number", "1").await;
    let id = browser.text("dd.code").await;
    browser.open(&site.at("/b?lang=en")).await;
    browser.state("own-booking").await;
    browser.fill("input[name=booking]", &id).await;
    browser.fill("input[name=applicant]", "2171012345678901").await;
    browser.click("form button").await;
    browser.until(".number", "1").await;
    browser.click("details:last-of-type summary").await;
    browser.fill("details:last-of-type input[name=applicant]", "2171012345678901").await;
    browser.click("details:last-of-type input[name=sure]").await;
    browser.click("details:last-of-type button").await;
    browser.until("h1", "cancelled").await;
    assert_eq!(site.bookings().await, 1);
}

/// What a counter asks for, on one sheet, in black on white whatever the screen was like.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_printed_on_one_page_with_nothing_else_on_it() {
    let config = config(-1_000, "first-come");
    for (language, hold, head) in [
        ("en", "", "Queue number"),
        ("id", "hold = \"2h\"\n", "Tempat Anda ditahan\nNomor antrean"),
    ] {
        // One that has printed shows what is printed from then on.
        let Some(browser) = Browser::start(true, language).await else { return };
        let site = Site::new(&config.replace("hold = \"2h\"\n", hold)).await;
        browser.open(&site.at(&format!("/o/w?lang={language}"))).await;
        wish(&browser, "alpha", "2171012345678901").await;
        browser.click(ASK).await;
        browser.until(".number", "1").await;
        let id = browser.text("dd.code").await;
        let held = match hold {
            "" => String::new(),
            _ => format!("{}\n", browser.text(".note.warn p").await),
        };
        browser.as_printed().await;
        let (day, label) = match language {
            "en" => ("Mon 7 Jan 2030, all day", "Booking id"),
            _ => ("Sen 7 Jan 2030, all day", "Kode pemesanan"),
        };
        let lines = "return document.body.innerText.replace(/\\n+/g, '\\n').trim()";
        let expected = format!("{head}\n1\nKantor Alpha, Batam\n{day}\n{held}{label}\n{id}");
        assert_eq!(browser.run(lines).await, json!(expected));
        // The code, of a size that scanners read, and dark on light.
        let code = "const b = document.querySelector('svg.qr').getBoundingClientRect(); \
                    return b.width > 120 && Math.abs(b.width - b.height) < 1";
        assert_eq!(browser.run(code).await, json!(true));
        let colours = "const seen = [...document.querySelectorAll('html, body, main, main *:not(svg *)')]\
                       .filter(e => e.checkVisibility()).map(e => getComputedStyle(e)); \
                       return [...new Set(seen.map(s => s.color))].concat([...new Set(seen\
                       .map(s => s.backgroundColor))].sort())";
        let expected = json!(["rgb(0, 0, 0)", "rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"]);
        let seen = browser.run(colours).await;
        assert_eq!(seen, expected, "{language}");
        let pdf = browser.printed().await;
        let pages = String::from_utf8_lossy(&pdf).matches("/Type /Page\n").count();
        assert_eq!(pages, 1);
        if let Ok(folder) = std::env::var("GILIRAN_SCREENSHOTS") {
            std::fs::write(format!("{folder}/printed-{language}.pdf"), pdf).unwrap();
        }
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_click_a_reload_and_the_way_back_make_one_booking() {
    let Some(browser) = Browser::start(true, "id").await else { return };
    let site = Site::new(&config(-1_000, "first-come")).await;
    browser.open(&site.at("/o/w")).await;
    let key = browser.value("input[name=key]").await;
    browser.reload().await;
    assert_eq!(browser.value("input[name=key]").await, key, "the wish keeps its number");
    wish(&browser, "beta", "2171012345678901").await;
    browser
        .run("const b = document.querySelector('form[data-wish] button'); b.click(); b.click()")
        .await;
    browser.until(".number", "1").await;
    browser.until("h1", "Tempat Anda ditahan").await;
    browser.back().await;
    browser.open(&site.at("/o/w")).await;
    assert_ne!(browser.value("input[name=key]").await, key, "it is settled");
    // Another wish of the same person is refused in words.
    wish(&browser, "alpha", "2171012345678901").await;
    browser.click(ASK).await;
    browser.until("[role=alert]", "sudah punya pemesanan").await;
    browser.state("refused").await;
    assert_eq!(site.bookings().await, 1);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_keys_alone_a_place_is_booked_in_either_language() {
    for (language, applicant, held) in [
        ("en", "2171012345678901", "Your place is held"),
        ("id", "2171012345678902", "Tempat Anda ditahan"),
    ] {
        let Some(browser) = Browser::start(true, language).await else { return };
        let site = Site::new(&config(-1_000, "first-come")).await;
        browser.open(&site.at(&format!("/o/w?lang={language}"))).await;
        browser.state(&format!("form-{language}")).await;
        browser.tab_to("select[name=office0]").await;
        // As lists take it: the beginning of a name.
        browser.press("Kantor A").await;
        browser.tab_to("input[name=applicant0]").await;
        browser.press(applicant).await;
        browser.tab_to(ASK).await;
        browser.press(ENTER).await;
        browser.until("h1", held).await;
        browser.state(&format!("held-{language}")).await;
        browser.open(&site.at(&format!("/b?lang={language}"))).await;
        browser.state(&format!("find-{language}")).await;
        // What looks for barriers finds one.
        browser.run("document.querySelector('main').append(document.createElement('img'))").await;
        let found = browser.barriers().await;
        assert!(std::env::var("GILIRAN_AXE").is_err() || found[0].contains("alternative text"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_network_and_a_killed_engine_lose_nothing() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let mut site = Site::new(&config(-1_000, "first-come")).await;
    browser.open(&site.at("/o/w")).await;
    wish(&browser, "alpha", "2171012345678901").await;
    browser.offline(true).await;
    browser.click(ASK).await;
    browser.until("[role=status]", "Nothing is decided yet").await;
    browser.state("trouble").await;
    site.engine.take().unwrap().kill();
    browser.offline(false).await;
    // The gateway asks nobody for a while.
    tokio::time::sleep(Duration::from_secs(2)).await;
    site.engine = Some(site.rig.serve("a"));
    browser.until(".number", "1").await;
    assert_eq!(site.bookings().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_no_markup_and_nothing_comes_from_elsewhere() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let site = Site::new(&config(-1_000, "first-come")).await;
    browser.open(&site.at("/o/w")).await;
    assert!(browser.text("table").await.contains(EVIL));
    assert_eq!(browser.count("img").await, 0);
    let elsewhere = "return performance.getEntriesByType('resource').map(r => r.name)\
                     .filter(name => !name.startsWith(location.origin))";
    assert_eq!(browser.run(elsewhere).await, json!([]));
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    // The policy holds: what is put into the page does not run.
    browser
        .run("const s = document.createElement('script'); s.text = 'document.title = \"ran\"'; document.body.append(s)")
        .await;
    assert_ne!(browser.run("return document.title").await, json!("ran"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fits_a_narrow_screen_and_a_slow_line() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let site = Site::new(&config(-1_000, "first-come")).await;
    let narrow = json!({ "width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", narrow).await;
    for path in ["/o/w?lang=en", "/o/w?lang=id", "/b?lang=en"] {
        browser.open(&site.at(path)).await;
        let width = browser.run("return document.documentElement.scrollWidth").await;
        assert!(width.as_u64().unwrap() <= 320, "{path}: {width}");
        // Each field has a name for whoever does not see it.
        let nameless = "return [...document.querySelectorAll('input:not([type=hidden]),select')]\
                        .filter(e => !e.labels.length || !e.labels[0].textContent.trim()).length";
        assert_eq!(browser.run(nameless).await, json!(0), "{path}");
    }
    let page = get(&site.address, "/o/w").await.unwrap();
    let mut packed = gzipped(&page);
    for asset in page.split('"').filter(|part| part.starts_with("/assets/")) {
        packed += gzipped(&get(&site.address, asset).await.unwrap());
    }
    assert!(packed <= 14 * 1024, "{packed} bytes");
    println!("first view: {packed} bytes compressed");
    // One's own place, with its QR code, to whoever has the rest.
    browser.open(&site.at("/o/w")).await;
    wish(&browser, "alpha", "2171012345678901").await;
    browser.click(ASK).await;
    browser.until(".number", "1").await;
    let width = browser.run("return document.documentElement.scrollWidth").await;
    assert!(width.as_u64().unwrap() <= 320, "one's own place: {width}");
    let own = browser.url().await;
    let own = own.split_once(&site.address).unwrap().1;
    let packed = gzipped(&get(&site.address, own).await.unwrap());
    assert!(packed <= 4 * 1024, "{packed} bytes");
    println!("one's own place: {packed} bytes compressed");
}

fn gzipped(text: &str) -> usize {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    gzip.wait_with_output().unwrap().stdout.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_opening_the_engine_s_clock_counts_and_the_button_waits() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let site = Site::new(&config(3_600_000, "first-come")).await;
    // The phone's clock is an hour ahead.
    let wrong = "const now = Date.now; Date.now = () => now() + 3600e3";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": wrong })).await;
    browser.open(&site.at("/")).await;
    browser.until("[data-until]", "59 minutes").await;
    let disabled =
        browser.run("return document.querySelector('form[data-wish] button').disabled").await;
    assert_eq!(disabled, json!(true));
    browser.state("before").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_enters_a_draw_has_a_receipt() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let site = Site::new(&config(-1_000, "draw").replace("hold = \"2h\"\n", "")).await;
    browser.open(&site.at("/")).await;
    assert!(browser.text("main").await.contains("There is no need to hurry"));
    wish(&browser, "alpha", "2171012345678901").await;
    browser.click(ASK).await;
    browser.until("h1", "You are entered").await;
    browser.state("entered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_change_before_one_s_eyes() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let site = Site::new(&config(-1_000, "first-come")).await;
    browser.open(&site.at("/o/w")).await;
    let cell = "td[data-slot='alpha/all/2030-01-07']";
    browser.until(cell, "2").await;
    for person in ["1", "2"] {
        let body = json!({ "applicants": [person],
                           "choices": [{ "office": "alpha", "date": "2030-01-07" }] });
        let (status, said) =
            post(&site.address, "/v1/openings/w/bookings", Some(person), &body).await;
        assert_eq!(status, 201, "{said}");
    }
    browser.until(cell, "full").await;
    browser.state("full").await;
}
