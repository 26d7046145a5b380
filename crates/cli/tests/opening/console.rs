//! The console as operators meet it: what it shows, and what can be done there by whom.

use std::time::{Duration, Instant};

use giliran_nats::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::browser::Browser;
use crate::rig::{Rig, Role, get};

/// What nobody should be able to make of an office's name.
const EVIL: &str = "<img src=x onerror=document.title=1>";
const DAY: &str = "2030-01-07";

fn config() -> String {
    let now = clock::now();
    format!(
        "[[opening]]\nid = \"w\"\nopens_at = \"{now}\"\ncloses_at = \"{}\"\n\
         timezone = \"Asia/Jakarta\"\ndates = [\"{DAY}\", \"2030-01-08\"]\n\
         [[office]]\nid = \"alpha\"\nname = \"Kantor Alpha, Batam\"\nquota = 20\n\
         [[office]]\nid = \"beta\"\nname = \"{EVIL}\"\nquota = 5\n",
        now.plus_millis(7_200_000)
    )
}

/// Everything that a console looks at.
struct Site {
    rig: Rig,
    _roles: [Role; 4],
    console: Role,
    address: String,
}

impl Site {
    /// With a console that was started so.
    async fn new(more: &[&str]) -> Self {
        let rig = Rig::new(&config()).await;
        rig.init();
        let roles = [
            rig.serve_and_ask("a"),
            rig.serve_and_ask("b"),
            rig.persist(&rig.sqlite()),
            rig.feed(),
        ];
        rig.open().await;
        let monitor = rig.server.monitor_url();
        let config = rig.path("giliran.toml").display().to_string();
        let looking = ["--nats-monitor", &monitor, "--config", &config];
        let console = rig.console(&[&looking[..], more].concat());
        console.until("console", "following", Duration::from_secs(20)).await;
        let address = console.http().unwrap();
        Self { rig, _roles: roles, console, address }
    }

    /// The page at a path, once it shows this.
    async fn until(&self, path: &str, words: &str) -> String {
        let since = Instant::now();
        loop {
            let page = get_slowly(&self.address, path).await;
            if page.contains(words) {
                return page;
            }
            let said = self.console.said();
            assert!(since.elapsed() < Duration::from_secs(30), "{path}: {words}: {page} {said}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Sends a form as a browser does, or as others do; status and page.
    async fn send(&self, path: &str, headers: &str, form: &str) -> (u16, String) {
        self.send_as(&self.address, path, headers, form).await
    }

    /// The same, of a host of this name.
    async fn send_as(&self, host: &str, path: &str, headers: &str, form: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!(
            "POST {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// A page that may have to be looked for first.
async fn get_slowly(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nX-Operator: siti\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

const OWN: &str = "Sec-Fetch-Site: same-origin\r\n";
const SITI: &str = "Sec-Fetch-Site: same-origin\r\nX-Operator: siti\r\n";
const QUOTA: &str = "action=quota&opening=w&office=alpha&date=2030-01-07&places=7&reason=two+desks";
const ROLL: &str = "action=roll&reason=before+the+new+year";
const HALT: &str =
    "action=halt&opening=w&office=beta&date=2030-01-07&bookings=cancel&reason=power+cut";

/// A form as its preview has it: with the name of what was shown.
fn as_shown(form: &str, preview: &str) -> String {
    let (_, behind) = preview.split_once("name=\"shown\" value=\"").unwrap();
    let (digest, _) = behind.split_once('"').unwrap();
    format!("{form}&shown={digest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_acts_by_the_name_of_their_login_after_a_preview() {
    let actions = ["--actions", "--trust-proxies", "127.0.0.1", "--operator-header", "x-operator"];
    let site = Site::new(&[&actions[..], &["--host", "console.example"]].concat()).await;
    let now = site.until("/", "engine b").await;
    assert!(now.contains("50 free of 50") && !now.contains("<img"), "{now}");
    assert!(now.contains("content-security-policy: default-src 'none'"), "{now}");
    assert!(site.until("/actions", "On record you are").await.contains("siti"));

    // Nobody, somebody else's page, and nonsense.
    let (status, page) = site.send("/actions/preview", OWN, QUOTA).await;
    assert_eq!((status, page.contains("x-operator")), (403, true), "{page}");
    let other = "Sec-Fetch-Site: cross-site\r\nX-Operator: siti\r\n";
    assert_eq!(site.send("/actions/done", other, QUOTA).await.0, 403);
    let (status, page) = site.send("/actions/preview", SITI, "action=quota&reason=x").await;
    assert_eq!((status, page.contains("opening: is missing")), (400, true), "{page}");

    // A page elsewhere whose name leads here is of one origin with itself, and says so.
    let (status, page) =
        site.send_as("rebound.example:8090", "/actions/preview", SITI, QUOTA).await;
    assert_eq!((status, page.contains("--host rebound.example")), (421, true), "{page}");
    let (status, _) = site.send_as("Console.Example", "/actions/preview", SITI, QUOTA).await;
    assert_eq!(status, 200, "it was named");
    // Where a proxy has put another name into `Host`, the form's own origin still says it.
    let elsewhere = format!("{SITI}Origin: https://evil.example\r\n");
    assert_eq!(site.send("/actions/preview", &elsewhere, QUOTA).await.0, 403);
    let metrics = get(&site.address, "/metrics").await.unwrap();
    assert!(metrics.contains("\ngiliran_console_connections 1\n"), "{metrics}");
    // Nobody keeps the list from operators by names that are made up.
    site.until("/preflight?opening=nobody", "No opening of this id").await;

    // A preview changes nothing.
    let (status, page) = site.send("/actions/preview", SITI, QUOTA).await;
    assert_eq!((status, page.contains("<td>20</td><td>7</td>")), (200, true), "{page}");
    assert_eq!(site.rig.done(&["journal"]).lines().count(), 1, "the take-over alone");
    // What nobody was shown is not done, and neither is another thing than was shown.
    let (status, unseen) = site.send("/actions/done", SITI, QUOTA).await;
    assert_eq!((status, unseen.contains("<h1>Not done</h1>")), (422, true), "{unseen}");
    let other = as_shown(QUOTA, &page).replace("places=7", "places=8");
    let (status, other) = site.send("/actions/done", SITI, &other).await;
    assert_eq!((status, other.contains("<td>20</td><td>8</td>")), (409, true), "{other}");
    let forged = as_shown(&format!("{QUOTA}&operator=mallory"), &page);
    let (status, page) = site.send("/actions/done", SITI, &forged).await;
    assert_eq!((status, page.contains("<h1>Done</h1>")), (200, true), "{page}");
    // By now another number stands there.
    let (status, page) = site.send("/actions/done", SITI, &forged).await;
    assert_eq!((status, page.contains("has changed since")), (409, true), "{page}");
    let journal = site.rig.done(&["journal"]);
    let said = "quota of alpha 2030-01-07 all set to 7 (before: 20). siti: two desks";
    assert!(journal.trim_end().ends_with(said), "{journal}");
    let shown = site.until("/journal?opening=w", "two desks").await;
    assert!(shown.contains("<div>20</div>") && shown.contains("<td>siti</td>"), "{shown}");

    // What cannot be undone has to be typed.
    let (status, page) = site.send("/actions/preview", SITI, HALT).await;
    assert_eq!((status, page.contains("cannot be undone")), (200, true), "{page}");
    let halt = as_shown(HALT, &page);
    let (status, page) = site.send("/actions/done", SITI, &halt).await;
    assert_eq!((status, page.contains("type w to do it")), (400, true), "{page}");
    let (status, _) = site.send("/actions/done", SITI, &format!("{halt}&confirm=w")).await;
    assert_eq!(status, 200);
    site.until("/", "halted").await;
    site.until("/preflight?opening=w", "1 slots are halted").await;
    rolled(&site).await;
}

/// A roll leaves the stream that was shown, and no other.
async fn rolled(site: &Site) {
    let (status, page) = site.send("/actions/preview", SITI, ROLL).await;
    let shown = "<td>GILIRAN_V1_LEDGER_1</td><td>GILIRAN_V1_LEDGER_2</td>";
    assert_eq!((status, page.contains(shown)), (200, true), "{page}");
    let roll = format!("{}&confirm=roll", as_shown(ROLL, &page));
    assert_eq!(site.send("/actions/done", SITI, &roll).await.0, 200);
    let (status, page) = site.send("/actions/done", SITI, &roll).await;
    assert_eq!((status, page.contains("GILIRAN_V1_LEDGER_3")), (409, true), "{page}");
    let from = |stream: &str| {
        let signed = ["--operator", "siti", "--reason", "full"];
        site.rig.run(&[&["admin", "roll", "--from", stream], &signed[..]].concat())
    };
    let (code, _, said) = from("GILIRAN_V1_LEDGER_1");
    assert_eq!((code, said.contains("the ledger is in GILIRAN_V1_LEDGER_2")), (1, true), "{said}");
    // What is on record, and what was done, is read over both streams.
    site.until("/preflight?opening=w", "as the file says").await;
    site.until("/journal?opening=w", "two desks").await;
    let (code, _, said) = from("GILIRAN_V1_LEDGER_2");
    assert_eq!(code, 0, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_the_moment_is_renewed_and_without_actions_it_only_looks() {
    let Some(browser) = Browser::start(true, "en").await else { return };
    let site = Site::new(&[]).await;
    assert!(!get(&site.address, "/actions").await.unwrap().contains("<form"));
    let at = |path: &str| format!("http://{}{path}", site.address);
    site.until("/preflight?opening=w", "Go</strong>").await;
    browser
        .devtools(
            "Emulation.setDeviceMetricsOverride",
            serde_json::json!({
                "width": 1280, "height": 1500, "deviceScaleFactor": 1, "mobile": false,
            }),
        )
        .await;
    browser.open(&at("/")).await;
    browser.until("h2", "Opening w").await;
    browser.until("main", "50 free of 50").await;
    // The moment comes by itself.
    for n in 0..3 {
        site.rig.done(&["book", "--office", "alpha", "--date", DAY, &format!("person-{n}")]);
    }
    browser.until("main", "47 free of 50").await;
    assert_eq!(browser.count("img").await, 0);
    browser.state("console-now").await;
    browser.open(&at("/preflight?opening=w")).await;
    browser.until("strong", "Go").await;
    browser.state("console-preflight").await;
    browser.open(&at("/journal")).await;
    browser.until("table", "took over").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}
