"use strict";
// Counts down what is left, from the clock of the page, and loads the page again when something has ended, or after a minute.
(function () {
  var began = Date.now(), page = Date.parse(document.documentElement.dataset.now), left = document.querySelectorAll("[data-until]");
  function words(ms) {
    var s = Math.max(0, Math.floor(ms / 1000)), d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
    if (d) return d + " d " + h + " h";
    if (h) return h + " h " + m + " min";
    if (m) return m + " min " + (s % 60) + " s";
    return s + " s";
  }
  function busy() { var a = document.activeElement; return document.hidden || a && /INPUT|SELECT/.test(a.tagName); }
  setInterval(function () {
    var now = page + Date.now() - began, over = false;
    left.forEach(function (e) {
      var rest = Date.parse(e.dataset.until) - now;
      e.textContent = rest > 0 ? e.dataset.before + words(rest) + e.dataset.after : "ending now";
      e.classList.toggle("soon", rest < 300000 && e.dataset.after === " left");
      over = over || rest < -2000;
    });
    if ((over && Date.now() - began > 5000 || Date.now() - began > 60000) && !busy()) location.reload();
  }, 1000);
})();
