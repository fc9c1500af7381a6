// A cell opens the runs that it comes from: their settings, journals and logs, which the page holds as JSON.

const known = JSON.parse(document.getElementById("runs").textContent);
const MOST_RUNS = 40;

const pairsTable = (pairs) => {
  const rows = Object.entries(pairs).map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row", className: "id", textContent: name }),
      make("td", { className: "id", textContent: value })));
  return make("div", { className: "wide" }, make("table", {}, make("tbody", {}, ...rows)));
};

/** Curves of two columns of the journal over the epochs, each from its least to its greatest value. */
const sparkline = (epochs, lines, label) => {
  const [first, last] = [epochs[0], epochs[epochs.length - 1]];
  const values = lines.flat().filter((value) => value !== null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const curves = lines.map((line) => {
    const points = line.flatMap((value, k) => value === null ? [] :
      [`${100 * (epochs[k] - first) / (last - first || 1)},${38 - 36 * (value - low) / (high - low || 1)}`]);
    return svg("polyline", { points: points.join(" ") });
  });
  return svg("svg", { class: "spark", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img",
    "aria-label": `${label} over the epochs, from ${low} to ${high}; the values are in the table below` }, ...curves);
};

const journal = ({ columns, rows, epochs: total }) => {
  const parts = [make("h3", { textContent: "Journal" })];
  const by = (name) => rows.map((row) => row[columns.indexOf(name)]);
  const epochs = by("epoch");
  for (const metric of ["loss", "top1"]) {
    const names = [metric, `val ${metric}`].filter((name) => columns.includes(name));
    if (rows.length < 3 || !names.length) continue;
    const said = names.length > 1 ? "line: training images, dashes: val split" :
      names[0] === metric ? "training images" : "val split";
    parts.push(make("p", { className: "about", textContent: `${metric} over the epochs (${said})` }));
    parts.push(sparkline(epochs, names.map(by), metric));
  }
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col", className: "number", textContent: name })));
  const body = rows.map((row) => make("tr", {}, ...row.map((value) =>
    make("td", { className: "number", textContent: value === null ? "" : value }))));
  parts.push(make("div", { className: "wide" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body))));
  if (rows.length < total) {
    parts.push(make("p", { className: "about", textContent: `${rows.length} of ${total} epochs are in this page.` }));
  }
  return parts;
};

const runDetails = (place) => {
  const run = known.runs[place];
  const parts = [pairsTable(run.about)];
  for (const note of run.notes ?? []) parts.push(make("p", { className: "caution", textContent: note }));
  parts.push(make("h3", { textContent: "Settings in which runs of this folder differ" }));
  const own = Object.fromEntries(known.differing.map((name, k) => [name, known.values[k][run.settings[k]]])
    .filter(([, value]) => value !== undefined && value !== null));
  parts.push(Object.keys(own).length ? pairsTable(own) : make("p", { textContent: "None." }));
  const rest = make("details", {}, make("summary", { textContent: "Settings that all have in common" }));
  rest.addEventListener("toggle", () => rest.children.length < 2 && rest.append(pairsTable(known.common)));
  parts.push(rest);
  if (run.journal) parts.push(...journal(run.journal));
  if (run.log) {
    parts.push(make("h3", { textContent: `Last lines of ${run.log.file}` }), make("pre", { textContent: run.log.lines.join("\n") }));
    if (run.log.omitted) parts.push(make("p", { className: "about", textContent: `${run.log.omitted} are left out.` }));
  }
  parts.push(make("p", { className: "about", textContent: `All of it: ${known.folder}/${run.about.run}` }));
  return parts;
};

const openRuns = (title, places) => {
  const body = make("div", { className: "body" });
  if (known.omitted) body.append(make("p", { className: "about", textContent: known.omitted }));
  for (const place of places.slice(0, MOST_RUNS)) {
    const run = known.runs[place];
    const item = make("details", {}, make("summary", {}, make("code", { textContent: run.about.run }), ` ${run.about.state}`));
    item.addEventListener("toggle", () => item.children.length < 2 && item.append(...runDetails(place)));
    body.append(item);
    item.open = places.length === 1;
  }
  if (places.length > MOST_RUNS) {
    body.append(make("p", { textContent: `And ${places.length - MOST_RUNS} more:` }),
      make("p", { className: "id", textContent: places.slice(MOST_RUNS).map((place) => known.runs[place].about.run).join(" ") }));
  }
  openDialog(title, "of-runs", [], body);
};

/** What a cell is of: the words of its row, its column, and what it says. */
const titleOf = (cell) => {
  const row = cell.closest("tr");
  const names = [...row.cells].filter((other) => other !== cell && !other.matches(".number, .state, .long")).map(cellText);
  const column = cell.matches("td.number") ? columnHeads(row.closest("table"))[cell.cellIndex]?.textContent.trim() : "";
  return [[...names, column].filter(Boolean).join(", "), cellText(cell)].filter(Boolean).join(": ");
};

const makeCellsOpen = () => {
  for (const cell of all("[data-runs]")) {
    const button = make("button", { type: "button", className: "cell", "aria-haspopup": "dialog", title: "Runs behind this" }, ...cell.childNodes);
    cell.append(button);
  }
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("button.cell")?.closest("[data-runs]");
    if (!cell) return;
    const places = cell.dataset.runs.split(" ").map(Number);
    openRuns(titleOf(cell), places);
  });
};
