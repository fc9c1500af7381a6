// Tables sort by any column, by value, and filter by words.

/** The main text of a cell, without the small print below it. */
const cellText = (cell) => {
  if (!cell) return "";
  const copy = cell.cloneNode(true);
  all("small", copy).forEach((small) => small.remove());
  return copy.textContent.trim();
};
const numberOf = (text) => {
  const found = /^[-+\u2212]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?(?=$|[\s%×±[])/i.exec(text);
  return found ? Number(found[0].replaceAll(",", "").replace("\u2212", "-")) : NaN;
};
const isEmpty = (text) => text === "" || text === "–";

/** Of a head of one or several rows, the cell that stands right above each column. */
const columnHeads = (table) => {
  const grid = [];
  [...table.tHead.rows].forEach((row, r) => {
    let column = 0;
    for (const cell of row.cells) {
      while (grid[r]?.[column]) column++;
      for (let i = 0; i < cell.rowSpan; i++) {
        for (let j = 0; j < cell.colSpan; j++) (grid[r + i] ??= [])[column + j] = cell;
      }
      column += cell.colSpan;
    }
  });
  return grid.length ? grid[grid.length - 1] : [];
};

const dataRows = (body) => [...body.rows].filter((row) => !row.classList.contains("panel"));

const sortBy = (table, column, direction) => {
  for (const body of table.tBodies) {
    const rows = dataRows(body);
    rows.forEach((row, place) => (row.dataset.place ??= place));
    const texts = new Map(rows.map((row) => [row, cellText(row.cells[column])]));
    const numeric = [...texts.values()].every((text) => isEmpty(text) || !Number.isNaN(numberOf(text)));
    const compare = (a, b) => {
      if (!direction) return a.dataset.place - b.dataset.place;
      const [x, y] = [texts.get(a), texts.get(b)];
      if (isEmpty(x) || isEmpty(y)) return isEmpty(x) - isEmpty(y); // at the end, either way
      const order = numeric ? numberOf(x) - numberOf(y) : x.localeCompare(y, "en", { numeric: true });
      return direction * order || a.dataset.place - b.dataset.place;
    };
    body.append(...rows.sort(compare));
  }
};

const makeSortable = (table) => {
  const heads = columnHeads(table);
  heads.forEach((head, column) => {
    const label = head.textContent.trim();
    if (!label || head.colSpan > 1) return;
    const button = make("button", { type: "button", title: "Sort by this column" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      const now = next === undefined ? "ascending" : next;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (now) head.setAttribute("aria-sort", now);
      sortBy(table, column, { ascending: 1, descending: -1 }[now] ?? 0);
    });
  });
};

const makeFilterable = (table, place) => {
  const bodies = [...table.tBodies].map((body) => {
    const group = all("tr.panel", body).map((row) => row.textContent).join(" ");
    return { body, rows: dataRows(body).map((row) => ({ row, text: `${group} ${row.textContent}`.toLowerCase() })) };
  });
  const total = bodies.reduce((sum, { rows }) => sum + rows.length, 0);
  if (total < 5) return;
  const field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const count = make("output", { textContent: `${total} rows` });
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const { body, rows } of bodies) {
      let here = 0;
      for (const { row, text } of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        here += !row.hidden;
      }
      body.hidden = !here;
      left += here;
    }
    count.textContent = words.length ? `${left} of ${total} rows` : `${total} rows`;
  });
  place.before(make("div", { className: "tools" }, make("label", {}, "Filter ", field), count));
};

/** A table that is wider than the window can be scrolled by the keyboard too. */
const makeScrollable = (frames) => {
  const look = () => {
    for (const frame of frames) {
      const wide = frame.scrollWidth > frame.clientWidth;
      const heading = frame.closest("section")?.querySelector("h2")?.textContent ?? "Table";
      for (const [name, value] of Object.entries({ tabindex: "0", role: "region", "aria-label": `Table: ${heading}` })) {
        if (wide) frame.setAttribute(name, value);
        else frame.removeAttribute(name);
      }
    }
  };
  look();
  addEventListener("resize", look);
};
