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
  const chart = legend.closest("figure").querySelector(".chart svg");
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
// Values under the pointer, the finger, or the arrow keys. What is said stands in the picture as titles.
const MOST = 12;
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg"), side = svg.classList.contains("lines");
  const says = (mark) => mark.querySelector(":scope > title").textContent;
  let marks, stops, cursor, readout, at = -1;
  const begin = () => {
    if (marks) return;
    // A native tooltip would say the same once more.
    marks = [...svg.querySelectorAll(side ? ".series circle:has(title)" : "[data-value]")].map((mark) => ({ mark, text: says(mark) }));
    for (const title of svg.querySelectorAll(".series title")) title.remove();
    stops = side ? [...new Set(marks.map(({ mark }) => Number(mark.getAttribute("cx"))))].sort((a, b) => a - b) : marks;
    readout = document.createElement("div");
    readout.className = "readout";
    readout.setAttribute("role", "status");
    chart.append(readout);
    cursor = document.createElementNS(svg.namespaceURI, "path");
    cursor.classList.add("cursor");
    svg.append(cursor);
  };
  const place = (box, lines) => {
    readout.replaceChildren(...lines.map((line) => { const p = document.createElement("p"); p.textContent = line; return p; }));
    const frame = chart.getBoundingClientRect();
    const right = box.left - frame.left > frame.width / 2;
    readout.style.left = right ? "auto" : `${box.right - frame.left + 12}px`;
    readout.style.right = right ? `${frame.right - box.left + 12}px` : "auto";
    readout.style.top = `${Math.max(0, box.top - frame.top)}px`;
  };
  const showLines = (x, y) => {
    const hidden = svg.classList.contains("chosen") ? ":not(.is-chosen)" : ".none";
    const nearest = new Map();
    for (const one of marks) {
      const line = one.mark.parentNode, distance = Math.abs(one.mark.getAttribute("cx") - x);
      if (!line.matches(hidden) && !(nearest.get(line)?.distance <= distance)) nearest.set(line, { ...one, distance });
    }
    let shown = [...nearest.values()];
    if (y !== undefined && shown.length > MOST) shown.sort((a, b) => Math.abs(a.mark.getAttribute("cy") - y) - Math.abs(b.mark.getAttribute("cy") - y));
    shown = shown.slice(0, MOST).sort((a, b) => a.mark.getAttribute("cy") - b.mark.getAttribute("cy"));
    if (!shown.length) return;
    cursor.setAttribute("d", `M${x} 160V3460`);
    const box = cursor.getBoundingClientRect();
    place({ left: box.left, right: box.left, top: 0 }, shown.map(({ text }) => text));
    for (const { mark } of marks) mark.classList.toggle("at", shown.some((one) => one.mark === mark));
  };
  const showMark = (one) => {
    const box = one.mark.getBoundingClientRect();
    for (const { mark } of marks) mark.classList.toggle("at", mark === one.mark);
    place({ left: box.right, right: box.right, top: box.bottom + 4 }, [one.text]);
  };
  const hide = () => {
    if (!marks) return;
    at = -1;
    readout.replaceChildren();
    cursor.removeAttribute("d");
    for (const { mark } of marks) mark.classList.remove("at");
  };
  const follow = (event) => {
    begin();
    if (side) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      if (stops.length) showLines(stops.reduce((best, x) => (Math.abs(x - point.x) < Math.abs(best - point.x) ? x : best)), point.y);
    } else {
      const one = marks.find(({ mark }) => mark.contains(event.target));
      if (one) showMark(one); else hide();
    }
  };
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow);
  svg.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: side ? 0 : 1, ArrowUp: side ? 0 : -1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    begin();
    event.preventDefault();
    if (!stops.length) return;
    at = Math.min(stops.length - 1, Math.max(0, at + step));
    if (side) showLines(stops[at]); else showMark(stops[at]);
  });
}
