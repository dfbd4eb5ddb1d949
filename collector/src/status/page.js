(function () {
  'use strict';
  var live = document.getElementById('live');
  var said = (document.querySelector('.big') || {}).textContent;
  var waiting = null;
  var late = false;
  function local(root) {
    root.querySelectorAll('time[datetime]').forEach(function (one) {
      var at = new Date(one.getAttribute('datetime'));
      if (!isNaN(at)) {
        one.title = one.textContent;
        one.textContent = at.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
      }
    });
    var zone = document.getElementById('zone');
    if (zone) zone.textContent = 'Times are those of your time zone. Days of the bars are in UTC.';
  }
  // What it says, but for when.
  function content(main) {
    var copy = main.cloneNode(true);
    copy.querySelector('#as-of').remove();
    copy.querySelectorAll('details').forEach(function (one) { one.open = false; });
    return copy.innerHTML;
  }
  // Nothing is taken from under a reader: where nothing new is said the page stays, and else what was
  // opened stays open, and what had the focus keeps it.
  function show(next) {
    var main = next.getElementById('main');
    var old = document.getElementById('main');
    local(main);
    if (content(main) === content(old)) {
      document.getElementById('as-of').replaceWith(main.querySelector('#as-of'));
      return;
    }
    old.querySelectorAll('details[open]').forEach(function (one) {
      var same = main.querySelector('#' + one.id);
      if (same) same.open = true;
    });
    var active = document.activeElement;
    var focused = old.contains(active) && (active.closest('details') || old).id;
    old.replaceWith(main);
    if (focused) {
      var same = document.querySelector('#' + focused + ' > summary') || main;
      same.focus({ preventScroll: true });
    }
    document.title = next.title;
    var now = main.querySelector('.big').textContent;
    if (now !== said) live.textContent = said = now;
  }
  function refresh() {
    waiting = null;
    if (document.hidden) {
      late = true;
      return;
    }
    fetch(location.pathname, { cache: 'no-store' }).then(function (answer) {
      if (!answer.ok) throw new Error();
      return answer.text();
    }).then(function (text) {
      show(new DOMParser().parseFromString(text, 'text/html'));
    }).catch(function () { soon(15000); });
  }
  // All who watch are told at once: they do not ask at once.
  function soon(after) {
    if (waiting === null) waiting = setTimeout(refresh, after + Math.random() * 700);
  }
  function connect() {
    var source = new EventSource('events');
    ['component_changed', 'global_changed', 'incident_created', 'incident_updated', 'incident_resolved',
      'maintenance_started', 'maintenance_ended', 'page_changed'].forEach(function (name) {
      source.addEventListener('status.' + name, function () { soon(100); });
    });
    source.addEventListener('stream.gap', function () { soon(100); });
    // What changed since the page was written, or since the stream was lost, is not told by it.
    source.addEventListener('open', function () { soon(100); });
    source.addEventListener('error', function () {
      // After an answer that is no stream the browser does not try again.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 15000 + Math.random() * 15000);
    });
  }
  local(document);
  connect();
  document.addEventListener('visibilitychange', function () {
    if (late && !document.hidden) { late = false; soon(0); }
  });
  setInterval(function () { soon(0); }, 60000);
}());
