// Countdowns by the engine's clock, one request however often it is sent, and live numbers.
// Every page works without it.
(() => {
'use strict';
const $ = (q, from = document) => from.querySelector(q), all = (q) => [...document.querySelectorAll(q)];
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const store = {
  get(k) { try { return localStorage.getItem(k); } catch { return null; } },
  set(k, v) { try { v === null ? localStorage.removeItem(k) : localStorage.setItem(k, v); } catch { /* private mode */ } },
};
let begin = performance.now(), now0 = 0, stream = null, timer = 0;
const now = () => now0 + performance.now() - begin;

const left = (ms) => {
  const s = Math.max(0, Math.ceil(ms / 1000)), u = document.body.dataset.units.split(' ');
  const parts = [[Math.floor(s / 86400), u[0]], [Math.floor(s / 3600) % 24, u[1]], [Math.floor(s / 60) % 60, u[2]], [s % 60, u[3]]];
  while (parts.length > 1 && !parts[0][0]) parts.shift();
  return parts.slice(0, 2).map(([n, w]) => n + ' ' + w).join(' ');
};

function tick() {
  for (const el of all('[data-until]')) {
    const ms = el.dataset.until - now();
    const text = left(ms);
    if (el.textContent !== text) el.textContent = text;
    if (ms <= 0 && el.dataset.over === 'open') {
      el.closest('.before')?.remove();
      for (const button of all('button[data-opens]')) button.disabled = false;
    }
  }
}

// The same wish keeps its number over reloads and tabs, until it is settled.
function keep(form) {
  const key = $('input[name=key]', form), name = 'giliran ' + form.dataset.wish;
  const known = store.get(name);
  if (known && !('sent' in form.dataset)) key.value = known; else store.set(name, key.value);
  const shown = $('[data-key]', form);
  if (shown) shown.textContent = key.value;
}

function show(html, url) {
  const page = new DOMParser().parseFromString(html, 'text/html');
  document.title = page.title;
  document.body.replaceWith(page.body);
  if (url) history.replaceState(null, '', url);
  start();
  $('main').focus();
  scrollTo(0, 0);
}

function say(form, text) {
  let box = $('[role=status]', form);
  box.textContent = text;
  box.hidden = !text;
}

// Sends until there is an answer: the network may be gone, the engine on its way back.
async function send(form) {
  const body = new URLSearchParams(new FormData(form)), button = $('button', form), words = form.dataset;
  const opens = +button.dataset.opens || 0;
  button.disabled = true;
  say(form, words.asking);
  for (let n = 0; ; n++) {
    let pause = Math.min(1000 * 2 ** n, 15000);
    try {
      const answer = await fetch(form.action, { method: 'POST', body });
      const settled = answer.headers.has('giliran-settled'), after = +answer.headers.get('retry-after') || 0;
      // Settled: the next wish gets another number. What nobody has decided is shown, and keeps it.
      const shut = answer.status >= 400 && answer.status < 500 && !after && ![408, 429].includes(answer.status);
      if (settled || shut) {
        if (settled) store.set('giliran ' + words.wish, null);
        return show(await answer.text(), answer.redirected ? answer.url : null);
      }
      if (after) pause = after * 1000;
    } catch { /* offline: the same number again */ }
    pause *= 1 + Math.random() / 2;
    // Not beyond the opening, and never for so long that a clock that stood still is not set.
    if (opens > now()) pause = opens - now() + 250 * Math.random();
    pause = Math.min(pause, 60000);
    say(form, words.trouble + ' ' + words.next + ' ' + left(pause));
    await wait(pause);
    say(form, words.asking);
  }
}

function places(el) {
  const words = el.dataset, put = (event) => {
    const told = JSON.parse(event.data);
    for (const s of told.slots) {
      for (const cell of all('td[data-slot]')) {
        if (cell.dataset.slot !== s.office + '/' + s.session + '/' + s.date) continue;
        const why = s.halted ? words.halted : !s.bookable ? words.late : s.free > 0 ? '' : words.full;
        cell.textContent = why || s.free;
        cell.className = why ? 'none' : '';
      }
    }
  };
  stream = new EventSource(words.places);
  stream.addEventListener('places', put);
  stream.addEventListener('change', put);
}

function own(el) {
  // What is shown may be older than what happens: then the page is fetched again.
  stream = new EventSource(el.dataset.request);
  stream.addEventListener('request', async (event) => {
    if (event.lastEventId === el.dataset.tag) return;
    try {
      const answer = await fetch(location.href);
      if (answer.ok) show(await answer.text());
    } catch { /* next time */ }
  });
}

function start() {
  stream?.close();
  clearInterval(timer);
  begin = performance.now();
  now0 = +document.body.dataset.now;
  for (const form of all('form[data-wish]')) {
    keep(form);
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      if (!form.dataset.busy) { form.dataset.busy = 1; send(form); }
    });
    if ('sent' in form.dataset) form.requestSubmit();
  }
  for (const button of all('button[data-opens]')) button.disabled = button.dataset.opens > now();
  for (const button of all('button[data-print]')) { button.hidden = false; button.addEventListener('click', () => print()); }
  const list = $('[data-places]'), mine = $('[data-request]');
  if (list) places(list); else if (mine) own(mine);
  tick();
  timer = setInterval(tick, 250);
}

addEventListener('pageshow', (event) => {
  // Back: what was sent is asked again under its number, by whoever presses the button.
  if (event.persisted) for (const form of all('form[data-wish]')) {
    const button = $('button', form);
    delete form.dataset.busy;
    button.disabled = button.dataset.opens > now();
  }
});
start();
})();
