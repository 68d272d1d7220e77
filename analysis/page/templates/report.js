"use strict";
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const escaped = text => String(text).replace(/[&<>"]/g, one => `&#${one.charCodeAt(0)};`);
const kept = (() => {
  const key = `ipix-tune:${document.title}`;
  let state = {};
  try { state = JSON.parse(sessionStorage.getItem(key)) || {}; } catch { state = {}; }
  return { get: name => state[name], set: (name, value) => {
    state[name] = value;
    try { sessionStorage.setItem(key, JSON.stringify(state)); } catch { return; }
  } };
})();

function setTheme(theme) { if (theme) document.documentElement.dataset.theme = theme; }
setTheme(kept.get("theme"));
$("#theme").hidden = false;
$("#theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme;
  const dark = now ? now === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  kept.set("theme", dark ? "light" : "dark");
  setTheme(kept.get("theme"));
});

const copier = $("#copy");
if (copier) {
  copier.hidden = false;
  copier.addEventListener("click", async () => {
    const text = $("#config").textContent;
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch {
      const box = document.createElement("textarea");
      box.value = text;
      document.body.append(box);
      box.select();
      done = document.execCommand("copy");
      box.remove();
      copier.focus();
    }
    $("#copied").textContent = done ? "Copied." : "Not copied: open the configuration below and copy it by hand.";
  });
}

function sortable(table) {
  $$("thead th", table).forEach((head, column) => {
    const button = $("button", head);
    if (!button) return;
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      $$("thead th", table).forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      order(table, column, down ? -1 : 1);
      if (table.id) kept.set("sort", [column, down ? -1 : 1]);
    });
  });
}
function order(table, column, sign) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map(row => {
    const text = row.cells[column].textContent.trim(), number = parseFloat(text);
    return { row, text, number, absent: text === "–" || text === "" };
  });
  keyed.sort((a, b) => a.absent - b.absent || sign * (isNaN(a.number) || isNaN(b.number)
    ? a.text.localeCompare(b.text) : a.number - b.number));
  body.append(...keyed.map(one => one.row));
}
$$("table").forEach(sortable);

const trials = $("#trials"), rowOf = new Map($$("tbody tr", trials).map(row => [row.dataset.run, row]));
let brushed = null;
function filter() {
  const text = $("#find").value.trim().toLowerCase(), state = $("#state").value;
  let shown = 0;
  rowOf.forEach((row, run) => {
    const fits = (!text || row.textContent.toLowerCase().includes(text) || run.toLowerCase().includes(text))
      && (!state || row.dataset.state === state) && (!brushed || brushed.has(run));
    row.hidden = !fits;
    shown += fits;
  });
  $("#shown").textContent = `${shown} of ${rowOf.size} trials${brushed ? ", within the brushes above" : ""}`;
  kept.set("find", $("#find").value);
  kept.set("state", state);
}
$("#filters").hidden = false;
$("#find").value = kept.get("find") || "";
$("#state").value = kept.get("state") || "";
$("#find").addEventListener("input", filter);
$("#state").addEventListener("change", filter);
if (kept.get("sort")) {
  const [column, sign] = kept.get("sort"), head = $$("thead th", trials)[column];
  if (head) { head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending"); order(trials, column, sign); }
}
filter();

function parallel(place, figure, data) {
  const brushes = new Map(kept.get("brushes") || []);
  const svgPlace = $(".drawing", place), tip = $(".tip", place), status = $(".status", place);
  let upright, width, height, lines, at;
  const spot = (axis, share) => upright ? [at(axis), 30 + (1 - share) * (height - 60)]
    : [14 + share * (width - 28), at(axis)];
  const fits = trial => [...brushes].every(([axis, [low, high]]) => {
    const share = trial.at[axis];
    return share !== null && share >= low - 1e-6 && share <= high + 1e-6;
  });
  function path(trial) {
    let text = "", pen = "M";
    trial.at.forEach((share, axis) => {
      if (share === null) { pen = "M"; return; }
      text += pen + spot(axis, share).map(one => one.toFixed(1)).join(" ");
      pen = "L";
    });
    return text;
  }
  function draw() {
    width = Math.max(svgPlace.clientWidth, 240);
    upright = width >= 640;
    const count = data.axes.length;
    height = upright ? 380 : 64 * count;
    at = axis => upright ? 40 + axis * (width - 110) / Math.max(count - 1, 1) : 44 + axis * 62;
    if (!upright) height = at(count - 1) + 30;
    const axes = data.axes.map((axis, index) => {
      const [x1, y1] = spot(index, 0), [x2, y2] = spot(index, 1);
      const ticks = axis.ticks.map(([share, label]) => {
        const [x, y] = spot(index, share);
        const anchor = upright ? "start" : share < .1 ? "start" : share > .9 ? "end" : "middle";
        return `<text x="${x + (upright ? 10 : 0)}" y="${y + (upright ? 4 : 14)}" text-anchor="${anchor}">${escaped(label)}</text>`;
      }).join("");
      const dot = axis.name.indexOf(".");
      const parts = upright && dot > 0 ? [axis.name.slice(0, dot + 1), axis.name.slice(dot + 1)] : [axis.name];
      const room = upright && count > 1 ? Math.floor((at(1) - at(0)) / 8) : Infinity;
      const fitted = part => part.length > room ? `${part.slice(0, room - 1)}…` : part;
      const name = parts.map((part, line) => upright
        ? `<text class="name" x="${x1}" y="${parts.length > 1 ? 10 + 12 * line : 22}" text-anchor="${index ? "middle" : "start"}"><title>${escaped(axis.name)}</title>${escaped(fitted(part))}</text>`
        : `<text class="name" x="14" y="${y1 - 10}">${escaped(part)}</text>`).join("");
      return `<g data-axis="${index}"><line class="axis" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>${ticks}${name}`
        + `<rect class="brush"/><line class="grip" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`
        + ["lowest", "highest"].map((end, which) => `<circle class="handle" r="6" tabindex="0" role="slider" data-end="${which}" aria-label="${escaped(axis.name)}, ${end} value"/>`).join("")
        + "</g>";
    }).join("");
    const paths = data.trials.map((trial, index) =>
      `<path data-index="${index}" class="${trial.done ? "done" : ""}" stroke="${trial.colour}" d="${path(trial)}"/>`).join("");
    const focused = document.activeElement && svgPlace.contains(document.activeElement)
      ? [document.activeElement.closest("g").dataset.axis, document.activeElement.dataset.end] : null;
    svgPlace.innerHTML = `<svg viewBox="0 0 ${width} ${height}" height="${height}" role="group" aria-label="${escaped(data.label)}">${paths}${axes}</svg>`;
    lines = $$("path", svgPlace);
    if (focused) $(`g[data-axis="${focused[0]}"] [data-end="${focused[1]}"]`, svgPlace).focus();
    mark();
  }
  function mark() {
    $$("g", svgPlace).forEach((group, axis) => {
      const [low, high] = brushes.get(axis) || [0, 1], [x1, y1] = spot(axis, low), [x2, y2] = spot(axis, high);
      const box = $(".brush", group), on = brushes.has(axis);
      box.setAttribute("x", upright ? x1 - 9 : Math.min(x1, x2));
      box.setAttribute("y", upright ? Math.min(y1, y2) : y1 - 9);
      box.setAttribute("width", upright ? 18 : Math.abs(x2 - x1));
      box.setAttribute("height", upright ? Math.abs(y2 - y1) : 18);
      box.style.display = on ? "" : "none";
      $$(".handle", group).forEach((handle, which) => {
        const share = which ? high : low, [x, y] = spot(axis, share);
        handle.setAttribute("cx", x);
        handle.setAttribute("cy", y);
        handle.setAttribute("aria-valuemin", 0);
        handle.setAttribute("aria-valuemax", 100);
        handle.setAttribute("aria-valuenow", Math.round(100 * share));
        handle.setAttribute("aria-valuetext", valueAt(data.axes[axis], share));
        handle.setAttribute("aria-orientation", upright ? "vertical" : "horizontal");
      });
    });
    let inside = 0;
    const found = new Set();
    data.trials.forEach((trial, index) => {
      const fit = fits(trial);
      lines[index].classList.toggle("out", !fit);
      if (fit) { inside += 1; found.add(trial.run); }
    });
    brushed = brushes.size ? found : null;
    status.textContent = brushes.size ? `${inside} of ${data.trials.length} trials within the brushes`
      : `${data.trials.length} trials; drag along an axis to brush it, or move its handles with the arrow keys`;
    kept.set("brushes", [...brushes]);
    filter();
  }
  function valueAt(axis, share) {
    if (axis.choices) return axis.choices[Math.round(share * (axis.choices.length - 1))];
    const value = axis.log ? Math.exp(Math.log(axis.low) + share * Math.log(axis.high / axis.low))
      : axis.low + share * (axis.high - axis.low);
    return Number(value.toPrecision(3)).toString();
  }
  function set(axis, low, high) {
    const range = [Math.max(0, Math.min(low, high)), Math.min(1, Math.max(low, high))];
    if (range[0] <= 0 && range[1] >= 1) brushes.delete(axis); else brushes.set(axis, range);
    mark();
  }
  const shareOf = event => {
    const box = $("svg", svgPlace).getBoundingClientRect();
    const share = upright ? 1 - (event.clientY - box.top - 30) / (height - 60) : (event.clientX - box.left - 14) / (width - 28);
    return Math.min(1, Math.max(0, share));
  };
  let drag = null;
  svgPlace.addEventListener("pointerdown", event => {
    const group = event.target.closest("g[data-axis]");
    if (!group) return;
    const axis = +group.dataset.axis, end = event.target.dataset.end;
    const [low, high] = brushes.get(axis) || [0, 1];
    drag = { axis, from: end === undefined ? shareOf(event) : end === "0" ? high : low };
    svgPlace.setPointerCapture(event.pointerId);
    if (end === undefined) event.preventDefault();
  });
  svgPlace.addEventListener("pointermove", event => {
    if (drag) { set(drag.axis, drag.from, shareOf(event)); return; }
    const line = event.target.closest("path");
    if (line) light(data.trials[line.dataset.index], event); else dim();
  });
  svgPlace.addEventListener("pointerup", event => {
    if (drag && Math.abs(drag.from - shareOf(event)) < 0.01 && event.target.dataset.end === undefined) brushes.delete(drag.axis);
    drag = null;
    mark();
  });
  svgPlace.addEventListener("pointercancel", () => { drag = null; });
  svgPlace.addEventListener("pointerleave", dim);
  svgPlace.addEventListener("keydown", event => {
    const handle = event.target.closest(".handle");
    if (!handle) return;
    const axis = +handle.closest("g").dataset.axis, which = +handle.dataset.end, range = [...(brushes.get(axis) || [0, 1])];
    const choices = data.axes[axis].choices, step = choices ? 1 / Math.max(choices.length - 1, 1) : 0.02;
    const moves = { ArrowUp: step, ArrowRight: step, ArrowDown: -step, ArrowLeft: -step, PageUp: 5 * step, PageDown: -5 * step, Home: -1, End: 1 };
    if (event.key === "Escape") { brushes.delete(axis); mark(); return; }
    if (!(event.key in moves)) return;
    event.preventDefault();
    range[which] = Math.min(which ? 1 : range[1], Math.max(which ? range[0] : 0, range[which] + moves[event.key]));
    set(axis, ...range);
  });
  let litRun = null;
  function light(trial, event) {
    if (litRun !== trial.run) { dim(); litRun = trial.run; }
    const index = data.trials.indexOf(trial), line = lines[index];
    line.classList.add("lit");
    rowOf.get(trial.run)?.classList.add("lit");
    tip.hidden = false;
    tip.textContent = `${trial.run}: ${trial.label}`;
    if (event) {
      const box = place.getBoundingClientRect();
      tip.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 12, box.width - tip.offsetWidth))}px`;
      tip.style.top = `${event.clientY - box.top + 14}px`;
    }
  }
  function dim() {
    if (litRun === null) return;
    lines.forEach(line => line.classList.remove("lit"));
    rowOf.get(litRun)?.classList.remove("lit");
    litRun = null;
    tip.hidden = true;
  }
  $(".clear", place).addEventListener("click", () => { brushes.clear(); mark(); });
  place.hidden = false;
  if (figure) figure.hidden = true;
  draw();
  let drawnAt = width;
  new ResizeObserver(() => { if (svgPlace.clientWidth !== drawnAt) { drawnAt = svgPlace.clientWidth; draw(); } }).observe(svgPlace);
}
const data = JSON.parse($("#data").textContent);
if (data) $$(".parallel").forEach(place => parallel(place, place.parentElement.querySelector("figure"), data));
