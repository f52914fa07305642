"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.value;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      // What has no value comes last, whichever way round.
      if (head.classList.contains("n") && (x === undefined || y === undefined)) return (x === undefined) - (y === undefined);
      const less = head.classList.contains("n") ? x - y
        : a.cells[column].textContent.localeCompare(b.cells[column].textContent, "en", { numeric: true });
      return down ? -less : less;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
}
for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const target = document.getElementById(button.dataset.of);
    const text = target.tHead ? [...target.rows].map((row) => [...row.cells].map((cell) => cell.textContent).join("\t")).join("\n")
      : target.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Pages from disk may not be allowed to: then the text is selected, ready for Ctrl-C.
      getSelection().selectAllChildren(target);
      button.textContent = "Selected: press Ctrl-C";
    }
  });
}
for (const legend of document.querySelectorAll(".legend")) {
  const chart = legend.closest("figure").querySelector("svg.chart, .chart svg");
  for (const button of legend.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      const chosen = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", chosen);
      const lines = [...legend.querySelectorAll("[aria-pressed=true]")].map((other) => other.dataset.line);
      chart.classList.toggle("chosen", lines.length > 0);
      for (const line of chart.querySelectorAll(".series")) line.classList.toggle("is-chosen", lines.includes(line.dataset.line));
    });
  }
}
