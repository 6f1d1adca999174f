// The calendar: the widget shows what the server expands; every change is a form of ours.
(() => {
  'use strict';
  const { prefix, word, zone, say } = window.Kalends;
  const planner = document.getElementById('planner');
  const words = planner.dataset;
  const boxes = [...planner.querySelectorAll('input[data-calendar]')];
  const KEY = 'kalends.hidden';
  const kept = () => { try { return JSON.parse(localStorage.getItem(KEY)) || []; } catch { return []; } };
  const hidden = new Set(kept());
  boxes.forEach((box) => { box.checked = !hidden.has(box.dataset.calendar); });
  const small = window.matchMedia('(max-width: 44rem)').matches;
  const pad = (number) => String(number).padStart(2, '0');
  const local = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}T${pad(at.getHours())}:${pad(at.getMinutes())}`;
  const query = (values) => new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
  const dialog = (path, values) => window.htmx.ajax('GET', `${prefix}${path}?${query(values)}`, '#dialog-body');

  const icon = (name) => {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    use.setAttribute('href', `${words.icons}#${name}`);
    svg.setAttribute('aria-hidden', 'true');
    svg.append(use);
    return svg;
  };

  const calendar = new FullCalendar.Calendar(document.getElementById('calendar'), {
    initialView: small ? 'listWeek' : 'timeGridWeek',
    headerToolbar: { left: 'prev,next today', center: 'title', right: 'dayGridMonth,timeGridWeek,timeGridDay,listWeek' },
    buttonIcons: false, buttonHints: { prev: words.before, next: words.after, today: words.today },
    // A day is named by what is in it.
    dayCellDidMount: (about) => about.el.removeAttribute('aria-labelledby'),
    buttonText: { prev: '‹', next: '›', today: words.today, month: words.month, week: words.week, day: words.day, list: words.list },
    allDayText: words.allday, noEventsText: words.none, moreLinkText: words.more,
    timeZone: 'local', firstDay: 1, nowIndicator: true, navLinks: true, dayMaxEvents: true, selectable: true, selectMirror: true,
    height: small ? 'auto' : 'calc(100vh - 7.5rem)', scrollTime: '07:30:00', slotEventOverlap: false, eventInteractive: true, forceEventDuration: true,
    eventTimeFormat: { hour: '2-digit', minute: '2-digit', hour12: false }, slotLabelFormat: { hour: '2-digit', minute: '2-digit', hour12: false },
    views: { timeGridWeek: { dayHeaderFormat: { weekday: small ? 'narrow' : 'short', day: 'numeric' } }, listWeek: { eventTimeFormat: { hour: '2-digit', minute: '2-digit', hour12: false } } },
    events: (wanted, good, bad) => {
      fetch(`${prefix}/calendar/events?${query({ start: wanted.start.toISOString(), end: wanted.end.toISOString() })}`, { headers: { 'HX-Request': 'true' } })
        .then((answer) => {
          const elsewhere = answer.headers.get('HX-Redirect');
          if (elsewhere) { location.href = elsewhere; return []; }
          if (!answer.ok) throw new Error(answer.status);
          return answer.json();
        })
        .then((events) => good(events.filter((event) => !hidden.has(event.extendedProps.calendar))))
        .catch((error) => { say(words.failed, 'bad'); bad(error); });
    },
    eventContent: (about) => {
      const box = document.createElement('div');
      box.className = 'ev';
      const from = about.event.extendedProps;
      if (about.timeText && about.view.type !== 'listWeek') {
        const time = document.createElement('span');
        time.className = 'time';
        time.textContent = about.timeText;
        box.append(time);
      }
      const title = document.createElement('span');
      title.className = 'title';
      title.textContent = about.event.title;
      box.append(title);
      if (from.provider) box.append(icon(from.provider));
      if (from.fixed) box.append(icon('lock'));
      return { domNodes: [box] };
    },
    eventDidMount: (about) => {
      const from = about.event.extendedProps;
      about.el.style.setProperty('--c', from.color);
      const origin = from.account || from.provider;
      about.el.title = [about.event.title, from.place, from.calendarName, origin].filter(Boolean).join(' · ');
      about.el.dataset.uid = from.uid;
    },
    select: (range) => {
      dialog('/calendar/event', { start: range.allDay ? range.startStr : local(range.start), end: range.allDay ? range.endStr : local(range.end), all_day: range.allDay, zone });
      calendar.unselect();
    },
    eventClick: (about) => {
      about.jsEvent.preventDefault();
      const from = about.event.extendedProps;
      dialog('/calendar/event', { calendar: from.calendar, uid: from.uid, at: from.at, from: from.from, to: from.to });
    },
    eventDrop: (about) => moved(about),
    eventResize: (about) => moved(about),
  });

  // A series asks which of them is meant; the choice is in the dialogue of the event, a drag means this one.
  const moved = (about) => {
    const from = about.event.extendedProps;
    const form = query({
      _word: word, calendar: from.calendar, uid: from.uid, at: from.at, etag: from.etag, scope: 'this',
      start: about.event.startStr, end: about.event.endStr, all_day: about.event.allDay, was_start: about.oldEvent.startStr, was_end: about.oldEvent.endStr,
    });
    fetch(`${prefix}/calendar/move`, { method: 'POST', body: form, headers: { 'HX-Request': 'true' } })
      .then(async (answer) => {
        if (answer.status === 204) { calendar.refetchEvents(); return; }
        about.revert();
        const told = new DOMParser().parseFromString(await answer.text(), 'text/html').body.textContent.trim();
        say(told || words.failed, 'bad');
      })
      .catch(() => { about.revert(); say(words.failed, 'bad'); });
  };

  boxes.forEach((box) => box.addEventListener('change', () => {
    if (box.checked) hidden.delete(box.dataset.calendar); else hidden.add(box.dataset.calendar);
    try { localStorage.setItem(KEY, JSON.stringify([...hidden])); } catch { /* it is forgotten with the page */ }
    calendar.refetchEvents();
  }));
  document.getElementById('new-event').addEventListener('click', () => {
    const start = new Date(calendar.view.activeStart <= new Date() && new Date() < calendar.view.activeEnd ? Date.now() : +calendar.view.activeStart + 9 * 3600e3);
    start.setMinutes(0, 0, 0);
    start.setHours(start.getHours() + 1);
    dialog('/calendar/event', { start: local(start), end: local(new Date(+start + 3600e3)), zone });
  });
  document.addEventListener('changed', () => calendar.refetchEvents());
  calendar.render();
  window.Kalends.calendar = calendar;

  // What happens elsewhere appears without a reload.
  let soon;
  const live = new EventSource(`${prefix}/live`);
  live.addEventListener('change', () => { clearTimeout(soon); soon = setTimeout(() => calendar.refetchEvents(), 300); });
  window.addEventListener('pagehide', () => live.close());
})();
