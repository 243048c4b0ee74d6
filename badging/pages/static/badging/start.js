// The start page of the admin: draws its charts, and fetches its parts again while somebody looks at it.
// A part is replaced only when it has changed, and not while it holds the focus or marked text, so that nothing jumps.
"use strict";

(() => {
  const EVERY_MS = 15_000;
  // What the portal keeps for a few seconds may be from before the click that led here.
  const FIRST_AFTER_MS = 6_000;
  const charts = {};
  const start = document.getElementById("start");
  let refreshedAt = Date.now() - EVERY_MS + FIRST_AFTER_MS;
  let timer = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--portal-${name}`).trim();

  const series = (data, name, look, borderDash = []) => ({
    label: data[name].label,
    data: data[name].data,
    borderColor: colour(look),
    backgroundColor: colour(look),
    borderDash,
    borderWidth: 2,
    pointRadius: 2,
  });

  const options = (unit) => {
    const axis = { ticks: { color: colour("muted") }, grid: { color: colour("line") } };
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      scales: {
        x: { ...axis, grid: { display: false } },
        y: {
          ...axis,
          beginAtZero: true,
          ticks: { ...axis.ticks, precision: unit ? undefined : 0 },
          title: { display: Boolean(unit), text: unit, color: colour("muted") },
        },
      },
      plugins: { legend: { labels: { color: colour("text") } } },
    };
  };

  const put = (id, type, data, datasets, unit) => {
    const canvas = document.getElementById(id);
    canvas.parentElement.hidden = false;
    charts[id] ??= new Chart(canvas, { type, data: {} });
    charts[id].data = { labels: data.days, datasets };
    charts[id].options = options(unit);
    charts[id].update();
  };

  const draw = () => {
    const data = JSON.parse(document.getElementById("start-charts").textContent);
    put("chart-days", "bar", data, [series(data, "issued", "accent"), series(data, "failed", "bad")], "");
    put("chart-delays", "line", data, [series(data, "median", "accent"), series(data, "p95", "warn", [6, 4])], data.unit);
  };

  const isInUse = (part) => {
    const marked = document.getSelection();
    const isMarked = marked && !marked.isCollapsed && [marked.anchorNode, marked.focusNode].some((end) => part.contains(end));
    return isMarked || part.contains(document.activeElement);
  };

  const replace = (page) => {
    for (const fresh of page.querySelectorAll("[data-part]")) {
      const part = start.querySelector(`[data-part="${fresh.dataset.part}"]`);
      if (!part || part.innerHTML === fresh.innerHTML || isInUse(part)) continue;
      if (fresh.dataset.said !== undefined && fresh.dataset.said !== part.dataset.said) {
        document.getElementById("start-said").textContent = fresh.textContent.trim();
      }
      part.replaceWith(document.adoptNode(fresh));
      if (fresh.dataset.part === "charts") draw();
    }
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    document.getElementById("start-stopped").hidden = false;
  };

  const refresh = async () => {
    refreshedAt = Date.now();
    let answer;
    try {
      answer = await fetch(start.dataset.refresh, { redirect: "manual", cache: "no-store" });
    } catch {
      // The portal is away, or this computer is offline. What stands there is not of now.
      document.getElementById("start-stopped").hidden = false;
      return;
    }
    if (answer.type === "opaqueredirect" || (answer.status >= 400 && answer.status < 500)) {
      // Signed out, or not allowed any more.
      stop();
    } else if (answer.ok) {
      replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
      document.getElementById("start-stopped").hidden = true;
    } else {
      document.getElementById("start-stopped").hidden = false;
    }
  };

  const isDue = () => timer !== null && !document.hidden && Date.now() - refreshedAt >= EVERY_MS;

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  draw();
  timer = setInterval(() => isDue() && refresh(), 1000);
  document.addEventListener("visibilitychange", () => isDue() && refresh());
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
})();
