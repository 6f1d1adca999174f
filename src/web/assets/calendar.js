// The calendar: the widget shows what the server expands; every change is a form of ours.
(() => {
  'use strict';
  const { prefix, word, zone, say, open, close, near } = window.Kalends;
  const planner = document.getElementById('planner');
  const words = planner.dataset;
  const narrow = window.matchMedia('(max-width: 44rem)');
  const small = narrow.matches;
  const pad = (number) => String(number).padStart(2, '0');
  const date = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const local = (at) => `${date(at)}T${pad(at.getHours())}:${pad(at.getMinutes())}`;
  const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
  const dialog = (path, values) => window.htmx.ajax('GET', `${prefix}${path}?${query(values)}`, '#dialog-body');
  const element = (name, kind, text) => {
    const made = document.createElement(name);
    if (kind) made.className = kind;
    if (text) made.textContent = text;
    return made;
  };
  const icon = (name) => {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    use.setAttribute('href', `${words.icons}#${name}`);
    svg.setAttribute('aria-hidden', 'true');
    svg.append(use);
    return svg;
  };

  // What is not to be seen: calendars and sources by their boxes, kept in this browser, and what is looked for.
  const KEY = 'kalends.hidden';
  const kept = () => { try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return []; } };
  const hidden = new Set(kept());
  const boxes = [...planner.querySelectorAll('input[data-calendar], input[data-source]')];
  const named = (box) => box.dataset.calendar ?? `source:${box.dataset.source}`;
  boxes.forEach((box) => { box.checked = !hidden.has(named(box)); });
  const find = document.getElementById('find');
  const seen = ({ title, extendedProps: from }) => {
    const wanted = find.value.trim().toLowerCase();
    return !hidden.has(from.calendar) && !hidden.has(`source:${from.source}`)
      && (!wanted || [title, from.place, from.account].some((text) => text && text.toLowerCase().includes(wanted)));
  };
  const fold = () => { document.getElementById('side').open = !narrow.matches; };
  narrow.addEventListener('change', fold);
  fold();

  // The address says what is looked at, so that one comes back to it.
  const views = { month: 'dayGridMonth', week: 'timeGridWeek', day: 'timeGridDay', agenda: 'listWeek' };
  const asked = new URLSearchParams(location.search);
  const first = /^\d{4}-\d\d-\d\d$/.test(asked.get('date') || '') ? asked.get('date') : undefined;
  const here = new Intl.Locale(navigator.language);
  const week = (here.getWeekInfo?.() ?? here.weekInfo)?.firstDay ?? 1;
  const hour12 = new Intl.DateTimeFormat(undefined, { hour: 'numeric' }).resolvedOptions().hour12;
  const clock = { hour: hour12 ? 'numeric' : '2-digit', minute: '2-digit', hour12 };
  const sayDate = (options) => (about) => {
    const of = (side) => new Date(...side.array.slice(0, 3));
    const format = new Intl.DateTimeFormat(undefined, options);
    return about.end ? format.formatRange(of(about.start ?? about.date), of(about.end)) : format.format(of(about.date));
  };
  const dayName = new Intl.DateTimeFormat(undefined, { weekday: small ? 'narrow' : 'short' });

  // Who has to sign in comes back to what is looked at by then.
  const signIn = (path) => {
    const to = new URL(path, location.href);
    to.searchParams.set('next', location.pathname.slice(prefix.length) + location.search);
    location.href = to.href;
  };

  // One fetch for what is looked at; filters do without another.
  let loaded = [];
  let range = '';
  const load = async (wanted, fresh) => {
    const asks = query({ start: wanted.start.toISOString(), end: wanted.end.toISOString() }).toString();
    if (!fresh && asks === range) return loaded;
    const answer = await fetch(`${prefix}/calendar/events?${asks}`, { headers: { 'HX-Request': 'true' } });
    const elsewhere = answer.headers.get('HX-Redirect');
    if (elsewhere) { signIn(elsewhere); return []; }
    if (!answer.ok) throw new Error(answer.status);
    [loaded, range] = [await answer.json(), asks];
    return loaded;
  };
  let fresh = true;
  // While somebody is asked about what they moved, it stays where they put it.
  let asking = false;
  const again = () => { fresh = true; if (!asking) calendar.refetchEvents(); };
  const hold = () => { hush(); asking = true; };
  const go = () => { asking = false; setTimeout(() => { if (fresh && !asking) calendar.refetchEvents(); }); };
  const filtered = () => calendar.refetchEvents();

  const calendar = new FullCalendar.Calendar(document.getElementById('calendar'), {
    initialView: views[asked.get('view')] || (small ? 'listWeek' : 'timeGridWeek'), initialDate: first,
    headerToolbar: { left: 'prev,next today', center: 'title', right: 'dayGridMonth,timeGridWeek,timeGridDay,listWeek' },
    buttonIcons: false, buttonHints: { prev: words.before, next: words.after, today: words.today },
    // A day is named by what is in it.
    dayCellDidMount: (about) => about.el.removeAttribute('aria-labelledby'),
    buttonText: { prev: '‹', next: '›', today: words.today, month: words.month, week: words.week, day: words.day, list: words.list },
    allDayText: small ? '' : words.allday, noEventsText: words.none, moreLinkText: words.more,
    timeZone: 'local', firstDay: week % 7, nowIndicator: true, navLinks: true, dayMaxEvents: true, selectable: true, selectMirror: true, lazyFetching: false,
    selectLongPressDelay: 400, eventLongPressDelay: 400, height: small ? 'auto' : 'calc(100vh - 6.5rem)', scrollTime: '07:30:00', slotEventOverlap: false, eventInteractive: true, forceEventDuration: true,
    eventTimeFormat: clock, slotLabelFormat: clock, titleFormat: sayDate({ day: 'numeric', month: small ? 'short' : 'long', year: 'numeric' }),
    views: {
      dayGridMonth: { titleFormat: sayDate({ month: 'long', year: 'numeric' }) },
      timeGrid: { dayHeaderContent: (about) => {
        const box = element('span', about.isToday ? 'head-day now' : 'head-day');
        box.append(element('span', 'name', dayName.format(about.date)), element('span', 'number', String(about.date.getDate())));
        return { domNodes: [box] };
      } },
    },
    datesSet: (about) => {
      const name = Object.keys(views).find((key) => views[key] === about.view.type);
      // On a phone hours are scrolled within the calendar, lists with the page.
      if (small) calendar.setOption('height', about.view.type.startsWith('timeGrid') ? 'max(24rem, calc(100dvh - 15rem))' : 'auto');
      if (small) setTimeout(() => calendar.scrollToTime('07:30:00'));
      history.replaceState(null, '', `?${query({ view: name, date: date(calendar.getDate()) })}`);
    },
    events: (wanted, good, bad) => {
      const anew = fresh;
      fresh = false;
      load(wanted, anew)
        .then((events) => good(events.filter(seen)))
        .catch((error) => { fresh = true; say(words.failed, 'bad'); bad(error); });
    },
    eventContent: (about) => {
      const box = element('div', 'ev');
      const from = about.event.extendedProps;
      if (about.timeText && about.view.type !== 'listWeek') box.append(element('span', 'time', about.timeText));
      box.append(element('span', 'title', about.event.title));
      if (about.view.type === 'listWeek' && from.place) box.append(element('span', 'hint', from.place));
      if (from.provider) box.append(icon(from.provider));
      if (from.fixed) box.append(icon('lock'));
      return { domNodes: [box] };
    },
    // What opens the rest of a day is a button, and says so.
    moreLinkDidMount: (about) => about.el.setAttribute('role', 'button'),
    eventDidMount: (about) => {
      const from = about.event.extendedProps;
      about.el.style.setProperty('--c', from.color);
      about.el.dataset.uid = from.uid;
      const told = () => tell(about.event, about.el);
      about.el.addEventListener('focusin', told);
      about.el.addEventListener('focusout', hush);
    },
    eventMouseEnter: (about) => tell(about.event, about.el),
    eventMouseLeave: () => hush(),
    eventDragStart: () => hold(), eventResizeStart: () => hold(), eventDragStop: () => go(), eventResizeStop: () => go(),
    select: (span) => {
      dialog('/calendar/event', { start: span.allDay ? span.startStr : local(span.start), end: span.allDay ? span.endStr : local(span.end), all_day: span.allDay, zone });
      calendar.unselect();
    },
    eventClick: (about) => {
      about.jsEvent.preventDefault();
      hush();
      const from = about.event.extendedProps;
      dialog('/calendar/event', { calendar: from.calendar, uid: from.uid, at: from.at, from: from.from, to: from.to });
    },
    eventDrop: (about) => moved(about),
    eventResize: (about) => moved(about),
  });

  // Where an event came from, when one points at it.
  const tip = document.getElementById('tip');
  const hush = () => { tip.hidden = true; document.querySelectorAll('[aria-describedby=tip]').forEach((one) => one.removeAttribute('aria-describedby')); };
  const when = (event) => {
    const end = event.end ?? event.start;
    if (event.allDay) return new Intl.DateTimeFormat(undefined, { dateStyle: 'medium' }).formatRange(event.start, new Date(Math.max(+event.start, +end - 1)));
    return new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).formatRange(event.start, end);
  };
  const tell = (event, el) => {
    const from = event.extendedProps;
    const origin = element('p', 'line');
    if (from.provider) origin.append(icon(from.provider));
    origin.append(element('span', '', from.origin + (from.synced ? ` · ${words.synced} ${near(new Date(from.synced))}` : '')));
    const within = element('p', 'line');
    const dot = element('span', 'dot');
    dot.style.background = from.color;
    within.append(dot, element('span', '', from.calendarName));
    tip.replaceChildren(element('strong', '', event.title), element('p', '', when(event)), ...(from.place ? [element('p', '', from.place)] : []), within, origin, ...(from.fixed ? [element('p', 'hint', from.why)] : []));
    tip.hidden = false;
    el.setAttribute('aria-describedby', 'tip');
    const [box, own] = [el.getBoundingClientRect(), tip.getBoundingClientRect()];
    const below = box.bottom + 6 + own.height < window.innerHeight;
    tip.style.left = `${Math.max(8, Math.min(box.left, window.innerWidth - own.width - 8))}px`;
    tip.style.top = `${Math.max(8, below ? box.bottom + 6 : box.top - own.height - 6)}px`;
  };
  window.addEventListener('scroll', hush, true);
  document.addEventListener('keydown', (event) => { if (event.key === 'Escape') hush(); });

  // A series asks which of them is meant; nothing: the dialogue was closed.
  const which = () => new Promise((answer) => {
    const [frame, body] = [document.getElementById('dialog'), document.getElementById('dialog-body')];
    body.replaceChildren(document.getElementById('which').content.cloneNode(true));
    let chosen = null;
    body.querySelectorAll('[data-scope]').forEach((button) => button.addEventListener('click', () => { chosen = button.dataset.scope; close(); }));
    frame.addEventListener('close', () => answer(chosen), { once: true });
    open();
  });
  const moved = async (about) => {
    const from = about.event.extendedProps;
    asking = true;
    const scope = from.at ? await which() : '';
    asking = false;
    if (scope === null) { about.revert(); calendar.refetchEvents(); return; }
    const form = query({
      _word: word, _once: crypto.randomUUID?.(), calendar: from.calendar, uid: from.uid, at: from.at, etag: from.etag, scope,
      start: about.event.startStr, end: about.event.endStr, all_day: about.event.allDay, was_start: about.oldEvent.startStr, was_end: about.oldEvent.endStr,
    });
    try {
      const answer = await fetch(`${prefix}/calendar/move`, { method: 'POST', body: form, headers: { 'HX-Request': 'true' } });
      const elsewhere = answer.headers.get('HX-Redirect');
      if (elsewhere) { signIn(elsewhere); return; }
      if (answer.status === 204) { again(); return; }
      about.revert();
      const told = new DOMParser().parseFromString(await answer.text(), 'text/html').body.textContent.trim();
      say(told || words.failed, 'bad');
      again();
    } catch { about.revert(); say(words.failed, 'bad'); }
  };

  boxes.forEach((box) => box.addEventListener('change', () => {
    if (box.checked) hidden.delete(named(box)); else hidden.add(named(box));
    try { localStorage.setItem(KEY, JSON.stringify([...hidden])); } catch { /* it is forgotten with the page */ }
    filtered();
  }));
  find.addEventListener('input', filtered);
  document.getElementById('new-event').addEventListener('click', () => {
    const start = new Date(calendar.view.activeStart <= new Date() && new Date() < calendar.view.activeEnd ? Date.now() : +calendar.view.activeStart + 9 * 3600e3);
    start.setMinutes(0, 0, 0);
    start.setHours(start.getHours() + 1);
    dialog('/calendar/event', { start: local(start), end: local(new Date(+start + 3600e3)), zone });
  });
  document.addEventListener('changed', again);
  calendar.render();
  window.Kalends.calendar = calendar;

  // What happens elsewhere appears without a reload.
  let soon;
  const live = new EventSource(`${prefix}/live`);
  live.addEventListener('change', () => { clearTimeout(soon); soon = setTimeout(again, 300); });
  window.addEventListener('pagehide', () => live.close());
  window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
})();
