"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const byId = (id) => document.getElementById(id);
const number = (value, digits = 3) =>
  value == null ? "" : value.toLocaleString("en", { maximumSignificantDigits: digits, useGrouping: true });

// What may stand across: title in words, value of a row. All of them cost something, so that less is better.
const COSTS = {
  gflops: { title: "GFLOPs of one input", short: "GFLOPs", value: (row) => row.gflops },
  params: { title: "parameters (millions)", short: "params (M)", value: (row) => row.params && row.params / 1e6 },
  size: { title: "file (MiB)", short: "file (MiB)", value: (row) => row.size },
  ...Object.fromEntries(
    Object.entries(content.machines).map(([kind, machine]) => [
      kind,
      { title: `milliseconds of one input, ${kind === "cpu" ? "processor" : "GPU"}`,
        short: kind === "cpu" ? "ms (CPU)" : "ms (GPU)", value: (row) => row.latency[kind], machine },
    ]),
  ),
};
const key = (row) => `${row.model}.${row.weights}`;
const isLower = (metric) => /(epe|fl_all)$/.test(metric);

const state = { task: null, x: "gflops", y: null, sort: null, down: false, filter: "", defaults: false };

function rowsOfTask() {
  return content.rows.filter((row) => row.task === state.task);
}

function shownRows() {
  const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
  return rowsOfTask().filter((row) => {
    const text = `${row.model} ${row.weights} ${row.data.map(([name]) => name).join(" ")}`.toLowerCase();
    return (!state.defaults || row.default) && words.every((word) => text.includes(word));
  });
}

// The metrics of the task, the one that most of its weights have first.
function metricsOfTask() {
  const counts = new Map();
  for (const row of rowsOfTask()) for (const name of Object.keys(row.metrics)) counts.set(name, (counts.get(name) ?? 0) + 1);
  const main = content.tasks.find((task) => task.name === state.task).metric;
  const isMain = (name) => Boolean(main) && name.endsWith(` ${main}`);
  return [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || isMain(b) - isMain(a));
}

// Rows than which none is both better and cheaper, from the cheapest on.
function paretoOf(rows, cost, value, lower) {
  const sorted = [...rows].sort((a, b) => cost(a) - cost(b) || (lower ? value(a) - value(b) : value(b) - value(a)));
  const found = [];
  for (const row of sorted) {
    const last = found.at(-1);
    if (!last || (lower ? value(row) < value(last) : value(row) > value(last))) found.push(row);
  }
  return found;
}

// Of the rows those whose names, written above their points, do not run into each other; the best of all first.
function apart(rows, all, cost, value, width) {
  const places = d3.extent(all, (row) => Math.log(cost(row)));
  const heights = d3.extent(all, value);
  const across = d3.scaleLinear(places, [52, width - 20]);
  const up = d3.scaleLinear(heights, [0, 340]);
  const boxes = [];
  return [...rows].reverse().filter((row) => {
    const [x, y, length] = [across(Math.log(cost(row))), up(value(row)), 7 * row.model.length];
    const from = x < 52 + 0.2 * (width - 72) ? x : x - length;
    if (boxes.some((box) => from < box.to && box.from < from + length && Math.abs(y - box.y) < 16)) return false;
    boxes.push({ from, to: from + length, y });
    return true;
  });
}

function draw() {
  const cost = COSTS[state.x];
  const value = (row) => row.metrics[state.y];
  const rows = shownRows().filter((row) => cost.value(row) > 0 && value(row) != null);
  const lower = isLower(state.y ?? "");
  const cheapest = d3.min(rows, cost.value);
  const dearest = d3.max(rows, cost.value);
  const left = (row) => Math.log(cost.value(row) / cheapest) < 0.2 * Math.log(dearest / cheapest);
  const width = Math.max(320, byId("plot").clientWidth);
  const pareto = paretoOf(rows, cost.value, value, lower);
  const labelled = width < 600 ? [] : apart(pareto, rows, cost.value, value, width);
  const figure = Plot.plot({
    width,
    height: Math.round(Math.min(440, Math.max(280, width * 0.42))),
    marginLeft: 52,
    marginBottom: 42,
    style: { fontSize: "13px", color: "currentColor" },
    x: { type: "log", label: `${cost.title} →`, grid: true, tickFormat: (tick) => number(tick, 2), ticks: width < 600 ? 3 : 8 },
    y: { label: `↑ ${state.y ?? ""}${lower ? " (lower is better)" : ""}`, grid: true, nice: true, reverse: lower },
    marks: [
      Plot.line(pareto, { x: cost.value, y: value, stroke: "var(--warm)", strokeWidth: 2, curve: "step-after" }),
      Plot.dot(rows, { x: cost.value, y: value, r: 5, fill: "var(--accent)", fillOpacity: 0.75, stroke: "var(--paper)", className: "points" }),
      ...["start", "end"].map((textAnchor) =>
        Plot.text(labelled.filter((row) => left(row) === (textAnchor === "start")), {
          x: cost.value, y: value, text: "model", dy: -11, textAnchor, fill: "currentColor", stroke: "var(--paper)", fontSize: 12,
        })),
      Plot.tip(rows, Plot.pointer({
        x: cost.value, y: value, fill: "var(--paper)", maxRadius: 30,
        title: (row) => `${row.model}\n${row.weights}\n${state.y}: ${number(value(row), 5)}\n${cost.short}: ${number(cost.value(row))}`,
      })),
    ],
  });
  figure.setAttribute("role", "group");
  figure.setAttribute("aria-label", `${state.y} against ${cost.title}, ${rows.length} weights`);
  // Marks stand in the order of the data.
  figure.querySelectorAll(".points circle").forEach((circle, index) => {
    const row = rows[index];
    circle.classList.add("point");
    circle.dataset.key = key(row);
    circle.setAttribute("tabindex", "0");
    circle.setAttribute("role", "button");
    circle.setAttribute("aria-label", `${row.model} ${row.weights}: ${number(value(row), 5)}, ${number(cost.value(row))} ${cost.short}`);
    circle.addEventListener("mouseenter", () => find(key(row), "row"));
    circle.addEventListener("focus", () => find(key(row), "row"));
    circle.addEventListener("mouseleave", () => find(null));
    circle.addEventListener("click", () => open(row));
    circle.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(row); } });
  });
  byId("plot").replaceChildren(rows.length ? figure : "No weights have both figures.");
  byId("machine").textContent = cost.machine
    ? `Measured: one input in float32 by optimize_for_inference, on ${cost.machine}, default weights' input sizes.` : "";
}

// Marks a row and its point; what was marked before no longer is.
function find(name, scrollTo) {
  document.querySelectorAll(".found").forEach((element) => element.classList.remove("found"));
  if (name == null) return;
  document.querySelectorAll(`[data-key="${CSS.escape(name)}"]`).forEach((element) => {
    element.classList.add("found");
    if (scrollTo === "row" && element.tagName === "TR") reveal(element);
    // On top of others; not what the pointer is over, since that would lose its events.
    if (element.tagName === "circle" && scrollTo !== "row") element.parentNode.append(element);
  });
}

// Scrolls the table, and not the page: the plot stays under the pointer.
function reveal(row) {
  const table = document.querySelector(".table");
  const head = table.querySelector("thead").offsetHeight;
  const top = row.offsetTop - head;
  if (top < table.scrollTop) table.scrollTop = top;
  else if (row.offsetTop + row.offsetHeight > table.scrollTop + table.clientHeight) {
    table.scrollTop = row.offsetTop + row.offsetHeight - table.clientHeight;
  }
}

function columns() {
  // A figure that a single model has is in what a click shows.
  const having = (name) => rowsOfTask().filter((row) => name in row.metrics).length;
  const common = metricsOfTask().filter((name, index) => index === 0 || having(name) > 1);
  return [
    { id: "model", title: "model", value: (row) => row.model },
    ...common.slice(0, 3).map((name, index) => ({
      id: name, title: name, value: (row) => row.metrics[name], digits: 5, number: true, place: index ? "second" : "",
    })),
    ...Object.entries(COSTS).map(([id, cost]) => ({
      id, title: cost.short, value: cost.value, digits: 3, number: true, place: id === "gflops" ? "" : id === "params" ? "third" : "second",
    })),
  ];
}

function list() {
  const shown = columns();
  const sorted = shown.find((column) => column.id === state.sort) ?? shown[0];
  const factor = state.down ? -1 : 1;
  // What has no value comes last in both orders.
  const rows = shownRows().map((row, index) => [row, index]).sort(([a, i], [b, j]) => {
    const [x, y] = [sorted.value(a), sorted.value(b)];
    if (x == null || y == null) return (x == null) - (y == null) || i - j;
    return factor * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y) || i - j;
  }).map(([row]) => row);
  byId("head").replaceChildren(...shown.map((column) => {
    const head = document.createElement("th");
    head.scope = "col";
    head.className = `${column.number ? "number" : ""} ${column.place ?? ""}`;
    head.setAttribute("aria-sort", column !== sorted ? "none" : state.down ? "descending" : "ascending");
    const button = document.createElement("button");
    button.textContent = column.title;
    button.title = `Sort by ${column.title}`;
    button.addEventListener("click", () => {
      // Numbers of quality begin with the best, costs with the least.
      state.down = state.sort === column.id ? !state.down : Boolean(column.number) && !(column.id in COSTS) && !isLower(column.id);
      state.sort = column.id;
      list();
      byId("head").children[shown.indexOf(column)].firstChild.focus();
    });
    head.append(button);
    return head;
  }));
  byId("body").replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    line.dataset.key = key(row);
    for (const column of shown) {
      const cell = document.createElement("td");
      cell.className = `${column.number ? "number" : ""} ${column.place ?? ""}`;
      if (column.id === "model") cell.append(...nameOf(row));
      else cell.textContent = number(column.value(row), column.digits);
      line.append(cell);
    }
    line.addEventListener("mouseenter", () => find(key(row)));
    line.addEventListener("focusin", () => find(key(row)));
    line.addEventListener("mouseleave", () => find(null));
    line.addEventListener("click", () => open(row));
    return line;
  }));
  if (!rows.length) {
    const line = document.createElement("tr");
    line.className = "empty";
    line.innerHTML = `<td colspan="${shown.length}">No model of this task has that in its name.</td>`;
    byId("body").replaceChildren(line);
  }
  byId("count").textContent = `${rows.length} of ${rowsOfTask().length} weights`;
}

function nameOf(row) {
  const name = document.createElement("button");
  name.className = "open";
  // Long names break behind an underscore.
  row.model.split(/(?<=_)/).forEach((part, index) => name.append(...(index ? [document.createElement("wbr")] : []), part));
  const weights = document.createElement("span");
  weights.className = "weights";
  weights.textContent = row.weights;
  const tags = [row.default ? "default" : null, row.embedded ? "in the package" : null].filter(Boolean).map((text) => {
    const tag = document.createElement("span");
    tag.className = "tag";
    tag.textContent = text;
    return tag;
  });
  weights.append(...tags);
  return [name, weights];
}

function link(text, address) {
  if (!/^https?:/.test(address ?? "")) return text;
  const anchor = document.createElement("a");
  Object.assign(anchor, { href: address, textContent: text, rel: "noopener", target: "_blank" });
  return anchor;
}

function commands(row) {
  const chosen = row.default ? "" : ` --weights ${row.weights}`;
  const file = { flow: "first.png second.png", video: "clip.mp4" }[row.task] ?? "photo.jpg";
  const quantize = row.task === "quantized" ? ", quantize=True" : "";
  return {
    "In the shell": `pip install ${row.package.replaceAll("_", "-")}\nzoo predict ${row.model} ${file}${chosen}`,
    "In Python":
      `from ${row.package} import ${row.enum}, ${row.model.replace(/^quantized_/, "")}\n\n` +
      `weights = ${row.enum}.${row.weights}\n` +
      `model = ${row.model.replace(/^quantized_/, "")}(weights=weights${quantize}).eval()\npreprocess = weights.transforms()`,
  };
}

function open(row) {
  const dialog = byId("detail");
  const title = document.createElement("h2");
  title.textContent = `${row.model} · ${row.weights}`;
  const close = document.createElement("button");
  close.className = "close";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  const facts = document.createElement("dl");
  const fact = (name, ...values) => {
    if (values[0] == null || values[0] === "") return;
    const term = document.createElement("dt");
    term.textContent = name;
    const text = document.createElement("dd");
    text.append(...values);
    facts.append(term, text);
  };
  for (const [name, value] of Object.entries(row.metrics)) fact(name, number(value, 5));
  fact("parameters", row.params && row.params.toLocaleString("en"));
  fact("GFLOPs", number(row.gflops, 5));
  fact("file", row.size && `${number(row.size, 4)} MiB`);
  for (const [kind, value] of Object.entries(row.latency)) fact(`latency (${kind === "cpu" ? "CPU" : "GPU"})`, `${number(value)} ms on ${content.machines[kind]}`);
  fact("labels", row.labels);
  fact("preprocessing", row.preprocessing);
  fact("licence", link(...row.licence));
  for (const [name, terms, source] of row.data) fact("trained on", `${name}: `, link(terms, source));
  fact("recipe", row.recipe && link(row.recipe, row.recipe));
  fact("from", row.url && link(row.url, row.url));
  fact("notes", row.notes);
  const blocks = Object.entries(commands(row)).flatMap(([name, text]) => {
    const head = document.createElement("h3");
    head.textContent = name;
    const block = document.createElement("div");
    block.className = "command";
    const code = document.createElement("pre");
    code.textContent = text;
    const copy = document.createElement("button");
    copy.textContent = "Copy";
    copy.addEventListener("click", async () => {
      copy.textContent = (await copied(text)) ? "Copied" : "Select it";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
    block.append(code, copy);
    return [head, block];
  });
  dialog.replaceChildren(close, title, facts, ...blocks);
  dialog.showModal();
  dialog.scrollTop = 0;
}

// A page that was opened as a file has no clipboard in some browsers; a selection can be copied there.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    byId("detail").append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function choose(task) {
  Object.assign(state, { task, sort: null, down: false, y: null });
  const metrics = metricsOfTask();
  state.y = metrics[0] ?? null;
  state.sort = state.y ?? "model";
  state.down = Boolean(state.y) && !isLower(state.y);
  byId("y").replaceChildren(...metrics.map((name) => new Option(name, name)));
  for (const tab of byId("tasks").children) {
    const chosen = tab.dataset.task === task;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  history.replaceState(null, "", `#${task}`);
  render();
}

function render() {
  draw();
  list();
}

function start() {
  const models = new Set(content.rows.map((row) => row.model)).size;
  byId("about").textContent =
    `${models} models and ${content.rows.length} trained weights for PyTorch, release ${content.version} (${content.date})`;
  byId("x").replaceChildren(...Object.entries(COSTS).map(([id, cost]) => new Option(cost.title, id)));
  byId("tasks").replaceChildren(...content.tasks.map((task) => {
    const tab = document.createElement("button");
    tab.textContent = task.title;
    tab.dataset.task = task.name;
    tab.setAttribute("role", "tab");
    tab.addEventListener("click", () => choose(task.name));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const tabs = [...byId("tasks").children];
      const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      choose(next.dataset.task);
      next.focus();
    });
    return tab;
  }));
  byId("x").addEventListener("change", (event) => { state.x = event.target.value; draw(); });
  byId("y").addEventListener("change", (event) => { state.y = event.target.value; draw(); });
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; render(); });
  byId("defaults").addEventListener("change", (event) => { state.defaults = event.target.checked; render(); });
  byId("detail").addEventListener("click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
  let width = 0;
  new ResizeObserver(() => {
    const now = byId("plot").clientWidth;
    if (now !== width) { width = now; draw(); }
  }).observe(byId("plot"));
  const asked = location.hash.slice(1);
  choose(content.tasks.some((task) => task.name === asked) ? asked : content.tasks[0].name);
}

start();
