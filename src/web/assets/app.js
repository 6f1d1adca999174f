// What all pages do: times in the reader's zone, forms that are sent once, dialogues, what is said for a moment.
(() => {
  'use strict';
  const body = document.body;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
  const ago = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

  // How a moment is shown: a day with its weekday, the time of day, a date, both; else how long it is from now.
  const forms = {
    day: new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' }),
    clock: new Intl.DateTimeFormat(undefined, { timeStyle: 'short' }),
    date: new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' }),
    full,
  };

  const told = (at) => {
    const seconds = (at - Date.now()) / 1000;
    const size = Math.abs(seconds);
    if (size < 60) return ago.format(Math.round(seconds), 'second');
    if (size < 3600) return ago.format(Math.round(seconds / 60), 'minute');
    if (size < 86400) return ago.format(Math.round(seconds / 3600), 'hour');
    return full.format(at);
  };
  const show = (root) => {
    for (const time of root.querySelectorAll('time[datetime]')) {
      const at = new Date(time.dateTime);
      if (Number.isNaN(+at)) continue;
      const form = forms[time.dataset.form] || (time.dataset.full !== undefined && full);
      time.textContent = form ? form.format(at) : told(at);
      time.title = full.format(at) + ' (' + zone + ')';
    }
    for (const field of root.querySelectorAll('input[data-zone]')) if (!field.value) field.value = zone;
    for (const dot of root.querySelectorAll('[data-color]')) dot.style.setProperty('--c', dot.dataset.color), dot.classList.contains('dot') && (dot.style.background = dot.dataset.color);
  };
  const say = (words, kind) => {
    const toast = document.createElement('p');
    toast.className = 'toast ' + (kind || '');
    toast.textContent = words;
    document.getElementById('toasts').append(toast);
  };
  const dialog = document.getElementById('dialog');
  const open = () => { if (!dialog.open) dialog.showModal(); };
  const close = () => { if (dialog.open) dialog.close(); };

  // A double click does nothing twice: a form that is on its way is not sent again.
  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (form.dataset.sure && !window.confirm(form.dataset.sure)) { event.preventDefault(); event.stopImmediatePropagation(); return; }
    if (form.method !== 'post' || form.hasAttribute('hx-post') || form.dataset.download !== undefined) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = 'yes';
    setTimeout(() => form.querySelectorAll('button[type=submit]').forEach((button) => { button.disabled = true; }));
  }, true);
  window.addEventListener('pageshow', () => document.querySelectorAll('form[data-sent]').forEach((form) => {
    delete form.dataset.sent;
    form.querySelectorAll('button[type=submit]').forEach((button) => { button.disabled = false; });
  }));
  // Browsers keep the clipboard from pages that came over plain http; those may only copy what is marked.
  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'visually-hidden';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    if (!done) throw new Error('not copied');
  };
  document.addEventListener('click', (event) => {
    const from = event.target.closest('[data-close],[data-copy]');
    if (!from) return;
    if (from.dataset.close !== undefined) close();
    if (from.dataset.copy !== undefined) copy(from.dataset.copy).then(() => say(from.dataset.copied), () => {});
  });
  // The rest of the menu closes when one looks elsewhere.
  const further = document.querySelector('.further');
  const shut = () => { if (further && further.open) further.open = false; };
  document.addEventListener('click', (event) => { if (further && !further.contains(event.target)) shut(); });
  document.addEventListener('focusin', (event) => { if (further && !further.contains(event.target)) shut(); });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !further?.open) return;
    shut(); further.querySelector('summary').focus();
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) close(); });
  // A field that another one makes needless is not shown: data-if="name=value|value" of the form.
  const fit = (root) => root.querySelectorAll('[data-if]').forEach((part) => {
    const [name, values] = part.dataset.if.split('=');
    const form = part.closest('form');
    const field = form && form.elements[name];
    if (!field) return;
    const value = field.type === 'checkbox' ? String(field.checked) : field.value;
    part.hidden = !values.split('|').includes(value);
  });
  document.addEventListener('change', (event) => { if (event.target.form) fit(event.target.form); });
  // What looks again by itself waits while somebody is in it with the keyboard.
  document.addEventListener('htmx:beforeSwap', (event) => {
    const into = event.detail.target;
    if (into?.dataset.calm !== undefined && into.contains(document.activeElement)) event.detail.shouldSwap = false;
  });
  document.addEventListener('htmx:afterSwap', (event) => {
    show(event.target); fit(event.target);
    if (event.target.id === 'dialog-body' && event.target.childElementCount) {
      open();
      (event.target.querySelector('[aria-invalid=true]') || event.target.querySelector('[autofocus]'))?.focus();
    }
  });
  document.addEventListener('htmx:configRequest', (event) => { event.detail.headers['X-Zone'] = zone; });
  document.addEventListener('htmx:sendError', () => say(body.dataset.offline, 'bad'));
  document.addEventListener('done', close);
  new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach((toast) => {
    if (toast.nodeType === 1) setTimeout(() => toast.remove(), 8000);
  }))).observe(document.getElementById('toasts'), { childList: true });

  window.Kalends = { body, zone, say, open, close, near: told, prefix: body.dataset.prefix, word: body.dataset.word };
  show(document); fit(document);
})();
