"use strict";
(() => {
  const form = document.querySelector("form.controls");
  const body = document.querySelector("table.index tbody");
  const cards = document.getElementById("cards");
  if (!form || !body || !cards) return;
  const rows = Array.from(body.rows);
  const card = (row) => document.getElementById(row.dataset.key);
  const texts = new Map(rows.map((row) => [row, (row.textContent + " " + card(row).textContent).toLowerCase()]));

  const filter = () => {
    const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits =
        ["hazard", "severity", "file"].every((name) => !form[name].value || row.dataset[name] === form[name].value) &&
        (!form.fixable.checked || row.dataset.fix === "safe") &&
        words.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      card(row).hidden = !fits;
      shown += fits;
    }
    form.shown.value = `${shown} of ${rows.length} shown`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));

  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.order ?? cell.textContent.toLowerCase();
  };
  const heads = Array.from(document.querySelectorAll("table.index thead th"));
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sorted = rows
        .map((row, index) => [key(row, column), index, row])
        .sort(([a, i], [b, j]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1) || i - j);
      for (const [, , row] of sorted) {
        body.append(row);
        cards.append(card(row));
      }
    });
  });

  for (const button of document.querySelectorAll("button.pick")) {
    button.addEventListener("click", () => {
      const name = button.dataset.hazard === undefined ? "file" : "hazard";
      const value = button.dataset[name];
      form[name].value = form[name].value === value ? "" : value;
      filter();
      document.getElementById("index").scrollIntoView();
    });
  }

  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  filter();
})();
