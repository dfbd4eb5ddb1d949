(function () {
  'use strict';
  var live = document.getElementById('live');
  var said = (document.querySelector('.big') || {}).textContent;
  var waiting = null;
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
  function refresh() {
    waiting = null;
    fetch(location.pathname, { cache: 'no-store' }).then(function (answer) {
      if (!answer.ok) throw new Error();
      return answer.text();
    }).then(function (text) {
      var next = new DOMParser().parseFromString(text, 'text/html');
      var main = next.getElementById('main');
      var open = {};
      document.querySelectorAll('#main details[open]').forEach(function (one) { open[one.id] = true; });
      main.querySelectorAll('details').forEach(function (one) { one.open = !!open[one.id]; });
      local(main);
      document.getElementById('main').replaceWith(main);
      document.title = next.title;
      var now = main.querySelector('.big').textContent;
      if (now !== said) live.textContent = said = now;
    }).catch(function () { soon(15000); });
  }
  // All who watch are told at once: they do not ask at once.
  function soon(after) {
    if (waiting === null) waiting = setTimeout(refresh, after + Math.random() * 700);
  }
  local(document);
  var source = new EventSource('events');
  ['component_changed', 'global_changed', 'incident_created', 'incident_updated', 'incident_resolved',
    'maintenance_started', 'maintenance_ended', 'page_changed'].forEach(function (name) {
    source.addEventListener('status.' + name, function () { soon(100); });
  });
  source.addEventListener('stream.gap', function () { soon(100); });
  var lost = false;
  source.addEventListener('error', function () { lost = true; });
  source.addEventListener('open', function () { if (lost) { lost = false; soon(100); } });
  setInterval(function () { soon(0); }, 60000);
}());
