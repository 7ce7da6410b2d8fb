// Sorting: a click on a column's head sorts the groups of rows by their first row, and again the
// other way round. Empty cells stay last.
for (const head of document.querySelectorAll("thead th")) {
  head.querySelector("button").addEventListener("click", () => {
    const table = head.closest("table");
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (group) => {
      const cell = group.rows[0].cells[column];
      if (head.classList.contains("n") || cell.dataset.v !== undefined) return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
      return cell.textContent;
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
      return down ? -sign : sign;
    };
    const foot = table.tFoot;
    [...table.tBodies].sort(order).forEach((group) => table.insertBefore(group, foot));
  });
}
// Highlighting: pointing at a variant in a picture or a table singles it out everywhere.
const single = (name) => {
  for (const svg of document.querySelectorAll("svg.panel")) {
    const own = [...svg.querySelectorAll("[data-run]")].filter((part) => part.dataset.run === name);
    svg.classList.toggle("dim", name !== "" && own.length > 0);
  }
  for (const part of document.querySelectorAll("[data-run]")) {
    part.classList.toggle("on", name !== "" && part.dataset.run === name);
  }
};
// The text under the pointer, instead of the browser's own, which comes late.
const tip = document.body.appendChild(Object.assign(document.createElement("div"), { id: "tip", hidden: true }));
const say = (text, event) => {
  tip.hidden = text === "";
  tip.textContent = text;
  if (text === "") return;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4))}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
};
for (const title of document.querySelectorAll("svg.panel title")) {
  title.parentNode.dataset.tip = title.textContent;
  if (title.parentNode.matches(".mark")) title.parentNode.setAttribute("aria-label", title.textContent);
  title.remove();
}
document.addEventListener("pointerover", (event) => {
  single(event.target.closest("svg [data-run]:not([data-run='']), tbody[data-run]")?.dataset.run ?? "");
});
document.addEventListener("pointermove", (event) => {
  if (!event.target.closest("svg[data-zoom]")) say(event.target.closest("[data-tip]")?.dataset.tip ?? "", event);
});
// Loss curves: the value of the nearest line under the pointer, and zoom by dragging.
const SVG = document.querySelector("svg")?.namespaceURI;
const human = (value) => {
  for (const [unit, name] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= 0.9995 * unit) return `${Number((value / unit).toPrecision(3))}${name}`;
  }
  return `${Number(value.toPrecision(3))}`;
};
const round = (low, high, wanted) => {
  const raw = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step); i <= Math.floor(high / step); i++) ticks.push(i * step);
  return [ticks, Math.max(0, -Math.floor(Math.log10(step)))];
};
for (const svg of document.querySelectorAll("svg[data-zoom]")) {
  const [left, right, top, bottom, x0, x1, y0, y1, log] = svg.dataset.zoom.split(" ").map(Number);
  const f = log ? Math.log : (v) => v;
  const inverse = log ? Math.exp : (v) => v;
  const toX = (px, a, b) => inverse(f(a) + ((px - left) / (right - left)) * (f(b) - f(a)));
  const toPx = (x, a, b) => left + ((f(x) - f(a)) / (f(b) - f(a))) * (right - left);
  const toY = (py, a, b) => a + ((bottom - py) / (bottom - top)) * (b - a);
  const toPy = (y, a, b) => bottom - ((y - a) / (b - a)) * (bottom - top);
  const lines = [...svg.querySelectorAll("polyline.line")].map((line) => ({
    line,
    name: line.dataset.name,
    run: line.parentNode.dataset.run,
    data: line.getAttribute("points").split(" ").map((pair) => {
      const [px, py] = pair.split(",").map(Number);
      return [toX(px, x0, x1), toY(py, y0, y1)];
    }),
  }));
  const marks = [...svg.querySelectorAll(".mark circle")].map((dot) => [dot, toX(+dot.getAttribute("cx"), x0, x1), toY(+dot.getAttribute("cy"), y0, y1)]);
  const axes = svg.querySelector("g.axes");
  const whole = axes.innerHTML;
  let view = [x0, x1, y0, y1];
  const add = (kind, attributes, text) => {
    const part = axes.appendChild(document.createElementNS(SVG, kind));
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    if (text !== undefined) part.textContent = text;
  };
  const draw = () => {
    const [a, b, c, d] = view;
    const zoomed = a !== x0 || b !== x1 || c !== y0 || d !== y1;
    svg.classList.toggle("zoomed", zoomed);
    for (const { line, data } of lines) line.setAttribute("points", data.map(([x, y]) => `${toPx(Math.max(x, 1e-9), a, b).toFixed(2)},${toPy(y, c, d).toFixed(2)}`).join(" "));
    for (const [dot, x, y] of marks) {
      dot.setAttribute("cx", toPx(x, a, b));
      dot.setAttribute("cy", toPy(y, c, d));
      dot.parentNode.style.display = zoomed && (x < a || x > b || y < c || y > d) ? "none" : "";
    }
    if (!zoomed) return void (axes.innerHTML = whole);
    const label = [...axes.querySelectorAll(".unit")].at(-1);
    axes.replaceChildren();
    const [ys, digits] = round(c, d, 5);
    for (const y of ys) {
      add("line", { class: "grid", x1: left, x2: right, y1: toPy(y, c, d), y2: toPy(y, c, d) });
      add("text", { class: "tick", x: left - 8, y: toPy(y, c, d) + 4, "text-anchor": "end" }, y.toFixed(digits));
    }
    add("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom });
    for (const x of round(a, b, 4)[0]) {
      add("line", { class: "axis", x1: toPx(x, a, b), x2: toPx(x, a, b), y1: bottom, y2: bottom + 4 });
      add("text", { class: "tick", x: toPx(x, a, b), y: bottom + 18, "text-anchor": "middle" }, human(x));
    }
    axes.append(label);
  };
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  // Zoom to x between two values; y follows what is to be seen there.
  const zoom = (a, b) => {
    [a, b] = [clamp(Math.min(a, b), x0, x1), clamp(Math.max(a, b), x0, x1)];
    if (f(b) - f(a) < (f(x1) - f(x0)) / 500) return;
    if (a === x0 && b === x1) return reset();
    const seen = lines.flatMap(({ data }) => data.filter(([x, y]) => x >= a && x <= b && y <= y1).map(([, y]) => y));
    if (seen.length < 2) return;
    const [low, high] = [Math.min(...seen), Math.max(...seen)];
    const pad = 0.06 * (high - low) || 0.01;
    view = [a, b, low - pad, high + pad];
    draw();
  };
  const reset = () => {
    view = [x0, x1, y0, y1];
    draw();
  };
  const box = svg.appendChild(document.createElementNS(SVG, "rect"));
  box.setAttribute("class", "zoombox");
  const show = (from, to) => {
    const [a, b] = [clamp(Math.min(from, to), left, right), clamp(Math.max(from, to), left, right)];
    for (const [name, value] of Object.entries({ x: a, y: top, width: b - a, height: bottom - top })) box.setAttribute(name, value);
  };
  let from = null;
  svg.addEventListener("pointerdown", (event) => {
    const [px] = at(event);
    if (event.button === 0 && event.pointerType !== "touch" && px >= left && px <= right) from = px;
  });
  svg.addEventListener("pointermove", (event) => {
    const [px, py] = at(event);
    if (from !== null) show(from, px);
    if (px < left || px > right || py < top - 8 || py > bottom) return say("", event);
    let best = null;
    for (const { name, run, data } of lines) {
      let [low, high] = [0, data.length - 1];
      const x = toX(px, view[0], view[1]);
      while (high - low > 1) data[(low + high) >> 1][0] < x ? (low = (low + high) >> 1) : (high = (low + high) >> 1);
      const point = data[Math.abs(data[low][0] - x) < Math.abs(data[high][0] - x) ? low : high];
      const far = Math.hypot(toPx(point[0], view[0], view[1]) - px, toPy(point[1], view[2], view[3]) - py);
      if (best === null || far < best.far) best = { far, name, run, point };
    }
    if (best === null || best.far > 40) return single(""), say("", event);
    single(best.run);
    say(`${best.name}: ${best.point[1].toFixed(3)} after ${human(best.point[0])} tokens`, event);
  });
  addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [start, end] = [from, at(event)[0]];
    from = null;
    show(0, 0);
    if (Math.abs(end - start) > 6) zoom(toX(clamp(start, left, right), view[0], view[1]), toX(clamp(end, left, right), view[0], view[1]));
  });
  svg.addEventListener("pointerleave", (event) => say("", event));
  svg.addEventListener("dblclick", reset);
  // The same by buttons, for keyboards and fingers.
  const bar = svg.parentNode.insertBefore(document.createElement("div"), svg.nextSibling);
  bar.className = "zoom";
  const middle = () => (f(view[0]) + f(view[1])) / 2;
  const by = (factor, shift) => () => {
    const half = ((f(view[1]) - f(view[0])) / 2) * factor;
    const most = (f(x1) - f(x0)) / 2;
    if (half >= most) return reset();
    const centre = clamp(middle() + shift * half, f(x0) + half, f(x1) - half);
    zoom(inverse(centre - half), inverse(centre + half));
  };
  for (const [text, name, act] of [["−", "Zoom out", by(2, 0)], ["+", "Zoom in", by(0.5, 0)], ["←", "Earlier", by(1, -0.5)], ["→", "Later", by(1, 0.5)], ["all", "Show all", reset]]) {
    const button = bar.appendChild(document.createElement("button"));
    button.type = "button";
    button.textContent = text;
    button.setAttribute("aria-label", name);
    button.title = name;
    button.addEventListener("click", act);
  }
}
