// The two toggles and the read-out of line charts. Everything else of the page works without this.
(() => {
  "use strict";
  const root = document.documentElement;
  const remembered = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(key, value); } catch { /* a file opened from disk may not remember */ } },
  };

  // Language: the reader's choice, else the browser's.
  const setLanguage = (language) => {
    root.dataset.lang = language;
    root.lang = language;
    document.title = language === "zh" ? root.dataset.titleZh : root.dataset.titleEn;
    for (const button of document.querySelectorAll("[data-set-lang]"))
      button.setAttribute("aria-pressed", String(button.dataset.setLang === language));
  };
  const language = remembered.get("danlu-lang") ?? (/^zh\b/i.test(navigator.language) ? "zh" : "en");
  setLanguage(language === "zh" ? "zh" : "en");
  for (const button of document.querySelectorAll("[data-set-lang]"))
    button.addEventListener("click", () => {
      setLanguage(button.dataset.setLang);
      remembered.set("danlu-lang", button.dataset.setLang);
    });

  // Theme: the reader's choice, else the system's (which the style sheet sees to).
  const theme = remembered.get("danlu-theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  document.querySelector("[data-toggle-theme]").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remembered.set("danlu-theme", root.dataset.theme);
  });
  document.querySelector(".toggles").hidden = false;

  // Line charts: the legend shows the values nearest to the pointer (or to the arrow keys' position).
  const nearest = (points, x) => {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle; else high = middle;
    }
    return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
  };
  const show = (value) => value.toLocaleString("en-US", { maximumSignificantDigits: 4 });
  const svgNode = (parent, name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return parent.appendChild(node);
  };

  for (const figure of document.querySelectorAll("figure[data-line]")) {
    const series = JSON.parse(figure.querySelector("script").textContent);
    const values = figure.querySelectorAll(".legend output");
    const xs = [...new Set(series.flat().map((point) => point[0]))].sort((a, b) => a - b);
    const stops = xs.map((x, i) => [x, i]);
    if (!xs.length) continue;
    for (const svg of figure.querySelectorAll("svg")) {
      const [x0, x1, left, right] = svg.dataset.x.split(" ").map(Number);
      const [y0, y1, bottom, top] = svg.dataset.y.split(" ").map(Number);
      const log = svg.dataset.log === "true";
      const px = (x) => left + ((x - x0) / (x1 - x0)) * (right - left);
      const py = (y) => bottom + (((log ? Math.log10(y) : y) - y0) / (y1 - y0)) * (top - bottom);
      const cursor = svgNode(svg, "g", { class: "cursor", visibility: "hidden" });
      const line = svgNode(cursor, "line", { y1: top, y2: bottom });
      const dots = series.map((_, i) => svgNode(cursor, "circle", { r: 3.5, class: "dot s" + (i % 6) }));
      let position = 0;
      const moveTo = (x) => {
        position = nearest(stops, x)[1];
        const at = xs[position];
        line.setAttribute("x1", px(at));
        line.setAttribute("x2", px(at));
        values[0].textContent = show(at);
        series.forEach((points, i) => {
          const point = points.length ? nearest(points, at) : null;
          dots[i].setAttribute("visibility", point ? "inherit" : "hidden");
          values[i + 1].textContent = point ? show(point[1]) : "";
          if (point) { dots[i].setAttribute("cx", px(point[0])); dots[i].setAttribute("cy", py(point[1])); }
        });
        cursor.setAttribute("visibility", "visible");
      };
      const leave = () => {
        cursor.setAttribute("visibility", "hidden");
        for (const value of values) value.textContent = "";
      };
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
        moveTo(x0 + ((at - left) / (right - left)) * (x1 - x0));
      });
      svg.addEventListener("pointerleave", leave);
      svg.addEventListener("blur", leave);
      svg.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        moveTo(xs[Math.min(xs.length - 1, Math.max(0, position + step))]);
      });
    }
  }
})();
