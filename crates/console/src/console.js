// The page of this moment, renewed as it is told. Every page works without this.
(() => {
'use strict';
const now = document.querySelector('[data-stream]');
if (!now) return;
const cut = document.querySelector('[data-cut]');
const stream = new EventSource(now.dataset.stream);
let last = performance.now();
stream.addEventListener('now', (event) => {
  // Made by the server, which has escaped every name in it.
  now.innerHTML = JSON.parse(event.data);
  last = performance.now();
});
setInterval(() => { cut.hidden = performance.now() - last < 5000; }, 500);
})();
