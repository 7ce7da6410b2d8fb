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
      if (head.classList.contains("n")) return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
      return cell.textContent;
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      const sign = typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true });
      return down ? -sign : sign;
    };
    [...table.tBodies].sort(order).forEach((group) => table.append(group));
  });
}
// Highlighting: pointing at a run in a picture or a table singles it out everywhere.
const single = (name) => {
  for (const svg of document.querySelectorAll("svg.panel")) {
    const own = [...svg.querySelectorAll("[data-run]")].filter((part) => part.dataset.run === name);
    svg.classList.toggle("dim", name !== "" && own.length > 0);
  }
  for (const part of document.querySelectorAll("[data-run]")) {
    part.classList.toggle("on", name !== "" && part.dataset.run === name);
  }
};
document.addEventListener("pointerover", (event) => {
  single(event.target.closest("svg [data-run]:not([data-run='']), tbody[data-run]")?.dataset.run ?? "");
});
