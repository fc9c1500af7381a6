// Figures show the values that are drawn in them, and are enlarged in a dialog.

/** What is drawn, as the table of values below a figure has it; places are shares of the figure's width and height. */
const pointsOf = (figure) => all("details.values tr[data-at]", figure).map((row) => {
  const [x, y] = row.dataset.at.split(" ").map(Number);
  const table = row.closest("table");
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const values = [...row.cells].map((cell, k) => cell.textContent && `${heads[k]}: ${cell.textContent}`).filter(Boolean);
  return { x, y, line: row.parentElement, text: [row.parentElement.rows[0].textContent.trim(), ...values].join("\n") };
});

/** Shows the values of points in a plot: under the pointer, or one after another by the arrow keys. */
const showValues = (plot, points) => {
  if (!points.length) return () => {};
  const tip = make("div", { className: "tip", hidden: true, role: "status" });
  const dot = make("div", { className: "dot", hidden: true });
  plot.append(dot, tip);
  let now = -1;
  const show = (place) => {
    now = place;
    tip.hidden = dot.hidden = place < 0;
    if (place < 0) return;
    const { x, y, text } = points[place];
    tip.textContent = text;
    dot.style.left = `${100 * x}%`;
    dot.style.top = `${100 * y}%`;
    tip.style.left = x < 0.5 ? `calc(${100 * x}% + 12px)` : "auto";
    tip.style.right = x < 0.5 ? "auto" : `calc(${100 * (1 - x)}% + 12px)`;
    tip.style.top = y < 0.5 ? `calc(${100 * y}% + 8px)` : "auto";
    tip.style.bottom = y < 0.5 ? "auto" : `calc(${100 * (1 - y)}% + 8px)`;
  };
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [-1, 20 ** 2];
    points.forEach(({ x, y }, k) => {
      const distance = (x * box.width - left) ** 2 + (y * box.height - top) ** 2;
      if (distance < least) [best, least] = [k, distance];
    });
    if (best !== now) show(best);
  });
  plot.addEventListener("pointerleave", () => show(-1));
  plot.addEventListener("blur", () => show(-1));
  return (key) => {
    const count = points.length;
    if (key === "ArrowRight") show((now + 1) % count);
    else if (key === "ArrowLeft") show((now - 1 + count) % count);
    else if (key === "ArrowDown" || key === "ArrowUp") {
      const lines = [...new Set(points.map(({ line }) => line))];
      const step = key === "ArrowDown" ? 1 : -1;
      const next = (lines.indexOf(points[Math.max(now, 0)].line) + (now < 0 ? 0 : step) + lines.length) % lines.length;
      show(points.findIndex(({ line }) => line === lines[next]));
    } else return false;
    return true;
  };
};

const openZoom = (title, image, points) => {
  const copy = make("img", { src: image.src, alt: image.alt, draggable: false });
  const plot = make("div", { className: "plot" }, copy);
  const stage = make("div", { className: "stage", tabIndex: 0, role: "group",
    "aria-label": "Figure. Plus and minus zoom, arrow keys move, 0 fits it in." }, plot);
  const view = { left: 0, top: 0, width: 0 };
  const ratio = image.naturalHeight / image.naturalWidth || 0.6;
  const place = () => {
    plot.style.width = `${view.width}px`;
    plot.style.left = `${view.left}px`;
    plot.style.top = `${view.top}px`;
  };
  const fit = () => {
    view.width = Math.min(stage.clientWidth, stage.clientHeight / ratio);
    view.left = (stage.clientWidth - view.width) / 2;
    view.top = (stage.clientHeight - view.width * ratio) / 2;
    place();
  };
  const zoom = (factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) => {
    const width = Math.min(Math.max(view.width * factor, 100), 20000);
    view.left = x - (x - view.left) * width / view.width;
    view.top = y - (y - view.top) * width / view.width;
    view.width = width;
    place();
  };
  const move = (x, y) => {
    view.left += x;
    view.top += y;
    place();
  };
  const tool = (text, label, onclick) => make("button", { type: "button", textContent: text, "aria-label": label, title: label, onclick });
  const tools = [tool("+", "Zoom in", () => zoom(1.4)), tool("−", "Zoom out", () => zoom(1 / 1.4)), tool("Fit", "Fit into the window", fit)];
  openDialog(title, "zoomed", tools, stage);
  showValues(plot, points);
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  const fingers = new Map();
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return Math.hypot(a.x - b.x, a.y - b.y);
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (fingers.size === 2) {
      const apart = spread();
      fingers.set(event.pointerId, now);
      const box = stage.getBoundingClientRect();
      const [a, b] = [...fingers.values()];
      if (apart) zoom(spread() / apart, (a.x + b.x) / 2 - box.left, (a.y + b.y) / 2 - box.top);
    } else {
      fingers.set(event.pointerId, now);
      move(now.x - before.x, now.y - before.y);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
  const keys = { "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: fit,
    ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60) };
  stage.parentElement.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  fit();
};

const makeFigureLive = (figure) => {
  const image = figure.querySelector("img");
  if (!image) return;
  const title = figure.dataset.title || "Figure";
  let points = null;
  const found = () => (points ??= pointsOf(figure));
  const plot = make("div", { className: "plot", tabIndex: 0, role: "group", "aria-label": `${title}. Enter enlarges it, arrow keys go through its values.` });
  image.replaceWith(plot);
  plot.append(image);
  let step = null;
  const ready = () => (step ??= showValues(plot, found()));
  plot.addEventListener("pointerenter", ready, { once: true });
  plot.addEventListener("click", () => openZoom(title, image, found()));
  plot.addEventListener("keydown", (event) => {
    if (event.target !== plot) return;
    if (event.key === "Enter" || event.key === " ") openZoom(title, image, found());
    else if (!ready()(event.key)) return;
    event.preventDefault();
  });
  const enlarge = make("button", { type: "button", textContent: "Enlarge", "aria-haspopup": "dialog", onclick: () => openZoom(title, image, found()) });
  plot.after(make("div", { className: "figure-tools" }, enlarge));
};
