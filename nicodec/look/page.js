"use strict";
// Two canvases lie on one plane: what is looked at, and what lies beside it, cut off at the split. Each shows a source.

const $ = (id) => document.getElementById(id);
const PROXY = 256; // side of the piece that is drawn first when a control moves
const PIECE = 1024; // side of the pieces after it: a moving slider waits for one at most
const state = { anchor: "fidelity", tau: 0, steps: 1, split: 0.5, zoom: 1, x: 0, y: 0, width: 1, height: 1 };
let sources = [], shown = null, beside = null;

// --- drawing

const orders = new Map(); // canvas -> the newest order: what to draw there, piece by piece

function visible() {
  const stage = $("stage").getBoundingClientRect();
  const x = Math.max(0, Math.floor(-state.x / state.zoom)), y = Math.max(0, Math.floor(-state.y / state.zoom));
  const right = Math.min(state.width, Math.ceil((stage.width - state.x) / state.zoom));
  const bottom = Math.min(state.height, Math.ceil((stage.height - state.y) / state.zoom));
  return { x, y, w: Math.max(1, right - x), h: Math.max(1, bottom - y) };
}

function centre(b) {
  const w = Math.min(b.w, PROXY), h = Math.min(b.h, PROXY);
  return { x: b.x + Math.floor((b.w - w) / 2), y: b.y + Math.floor((b.h - h) / 2), w, h };
}

function pieces(b) {
  const found = [];
  const next = (at) => (Math.floor(at / PIECE) + 1) * PIECE; // on one grid wherever the view is
  for (let y = b.y; y < b.y + b.h; y = next(y)) {
    for (let x = b.x; x < b.x + b.w; x = next(x)) {
      found.push({ x, y, w: Math.min(next(x), b.x + b.w) - x, h: Math.min(next(y), b.y + b.h) - y });
    }
  }
  const far = (p) => Math.hypot(p.x + p.w / 2 - b.x - b.w / 2, p.y + p.h / 2 - b.y - b.h / 2);
  return found.sort((p, q) => far(p) - far(q));
}

// One piece is under way at a time; a newer order takes over after it, so that a drag never waits behind old requests.
async function draw(canvas, source, first, rest) {
  const busy = orders.has(canvas);
  orders.set(canvas, { source, first, rest, started: performance.now() });
  if (busy) return;
  $("stage").setAttribute("aria-busy", "true");
  try {
    for (let order = null; order !== orders.get(canvas); ) {
      order = orders.get(canvas);
      await fill(canvas, order);
    }
    say("");
  } catch (error) {
    say(error.message, true);
  } finally {
    orders.delete(canvas);
    $("stage").setAttribute("aria-busy", String(orders.size > 0));
  }
}

async function fill(canvas, order) {
  const time = (name) => {
    if (order.source === shown) document.body.dataset[name] = (performance.now() - order.started).toFixed();
  };
  let error = 0, area = 0;
  for (const b of [...order.first, ...order.rest]) {
    const { bitmap, ...about } = await order.source.get(b);
    const context = canvas.getContext("2d");
    context.clearRect(b.x, b.y, b.w, b.h);
    context.drawImage(bitmap, b.x, b.y);
    if (b === order.first[0]) time("first");
    else {
      error += b.w * b.h * Number(about.error);
      area += b.w * b.h;
    }
    if (orders.get(canvas) !== order) return;
    order.source.note = about.note;
    order.source.psnr = about.error && error > 0 ? 10 * Math.log10((255 * 255 * area) / error) : 0;
  }
  order.source.part = area < state.width * state.height;
  time("all");
  describe();
}

function update(quick) {
  const whole = visible(), first = centre(whole);
  const small = first.w * first.h > 0.8 * whole.w * whole.h;
  draw($("left"), shown, quick && !small ? [first] : [], pieces(whole));
  if (beside) draw($("right"), beside, [], pieces(whole));
}

function describe() {
  const decibels = (s) => (s.psnr ? `${s.psnr.toFixed(2)} dB${s.part ? " here" : ""}` : "");
  const told = (s) => [s.detail, s.note, decibels(s)].filter(Boolean).join(", ");
  $("detail").textContent = told(shown);
  $("rival").textContent = beside && told(beside) ? `${beside.label}: ${told(beside)}` : "";
}

function say(text, error) {
  $("message").textContent = text;
  $("message").classList.toggle("error", Boolean(error));
}

function place() {
  $("plane").style.transform = `translate(${state.x}px, ${state.y}px) scale(${state.zoom})`;
  $("plane").classList.toggle("near", state.zoom > 2);
  const stage = $("stage").getBoundingClientRect();
  const at = state.split * stage.width;
  $("handle").style.left = `${at}px`;
  $("handle").setAttribute("aria-valuenow", String(Math.round(100 * state.split)));
  $("handle").hidden = $("right").hidden = !beside;
  const cut = (at - state.x) / state.zoom;
  $("right").style.clipPath = `inset(0 0 0 ${Math.max(0, cut)}px)`;
}

function fit() {
  const stage = $("stage").getBoundingClientRect();
  state.zoom = Math.min(stage.width / state.width, stage.height / state.height, 1);
  state.x = (stage.width - state.width * state.zoom) / 2;
  state.y = (stage.height - state.height * state.zoom) / 2;
  place();
  update(false);
}

function zoom(factor, cx, cy) {
  const stage = $("stage").getBoundingClientRect();
  cx ??= stage.width / 2;
  cy ??= stage.height / 2;
  const next = Math.min(16, Math.max(0.05, state.zoom * factor));
  state.x = cx - ((cx - state.x) * next) / state.zoom;
  state.y = cy - ((cy - state.y) * next) / state.zoom;
  state.zoom = next;
  place();
  settle();
}

let waiting = 0;
function settle() {
  clearTimeout(waiting);
  waiting = setTimeout(() => update(false), 150);
}

// --- controls

function fillControls() {
  const anchors = [...new Set(sources.flatMap((s) => s.anchors))];
  if (!anchors.includes(state.anchor)) state.anchor = anchors[0] ?? "fidelity";
  for (const name of anchors) {
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "anchor", value: name, checked: name === state.anchor });
    radio.addEventListener("change", () => { state.anchor = name; update(true); });
    label.append(radio, name);
    $("anchors").append(label);
  }
  $("anchors").hidden = anchors.length < 2;
  $("tau-box").hidden = $("steps-box").hidden = !sources.some((s) => s.tau);
  $("steps-box").hidden ||= Boolean(window.NIC_STATIC);
  $("bits-box").hidden = Boolean(window.NIC_STATIC);
  const options = sources.map((s, i) => new Option(s.label, String(i)));
  $("shown").append(...options.map((option) => option.cloneNode(true)));
  $("shown-box").hidden = !window.NIC_STATIC || sources.length < 3;
  $("beside").append(new Option("nothing", ""), ...(window.NIC_STATIC ? options : options.slice(1)));
  $("beside").value = sources.length > 1 ? "1" : "";
  beside = sources[1] ?? null;
}

function setTau(value) {
  state.tau = Math.min(1, Math.max(0, Math.round(100 * value) / 100));
  $("tau").value = String(state.tau);
  $("tau-value").textContent = String(state.tau);
  update(true);
}

function listen() {
  $("tau").addEventListener("input", () => setTau(Number($("tau").value)));
  $("steps").addEventListener("change", () => { state.steps = Number($("steps").value); update(true); });
  $("shown").addEventListener("change", () => { shown = sources[Number($("shown").value)]; title(); update(false); });
  $("beside").addEventListener("change", () => {
    beside = $("beside").value === "" ? null : sources[Number($("beside").value)];
    place();
    update(false);
  });
  $("in").addEventListener("click", () => zoom(1.5));
  $("out").addEventListener("click", () => zoom(1 / 1.5));
  $("fit").addEventListener("click", fit);
  $("show-bits").addEventListener("change", () => {
    if (!$("bits").src) $("bits").src = "bits";
    $("bits").hidden = !$("show-bits").checked;
  });
  $("download").addEventListener("click", download);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("stage").addEventListener("wheel", (event) => {
    event.preventDefault();
    const stage = $("stage").getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - stage.left, event.clientY - stage.top);
  }, { passive: false });
  drag($("stage"), (dx, dy) => { state.x += dx; state.y += dy; place(); settle(); });
  drag($("handle"), (dx) => split(state.split + dx / $("stage").getBoundingClientRect().width));
  $("handle").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key];
    if (step) { split(state.split + step); event.preventDefault(); event.stopPropagation(); }
  });
  document.addEventListener("keydown", keys);
  addEventListener("resize", () => { place(); settle(); });
}

function title() {
  document.title = $("name").textContent = shown.label;
  describe();
}

function split(value) {
  state.split = Math.min(1, Math.max(0, value));
  place();
}

function drag(element, moved) {
  const held = new Map();
  let apart = 0;
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    held.set(event.pointerId, [event.clientX, event.clientY]);
    event.stopPropagation();
  });
  element.addEventListener("pointermove", (event) => {
    const last = held.get(event.pointerId);
    if (!last) return;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    if (held.size === 2) { // two fingers pinch
      const [[ax, ay], [bx, by]] = [...held.values()];
      const now = Math.hypot(ax - bx, ay - by), stage = element.getBoundingClientRect();
      if (apart && element === $("stage")) zoom(now / apart, (ax + bx) / 2 - stage.left, (ay + by) / 2 - stage.top);
      apart = now;
    } else moved(event.clientX - last[0], event.clientY - last[1]);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, (event) => { held.delete(event.pointerId); apart = 0; });
  }
}

function keys(event) {
  if (event.target.matches("input, select, output") || event.ctrlKey || event.metaKey || event.altKey) return;
  const anchor = { f: "fidelity", p: "perception" }[event.key];
  if (anchor) document.querySelector(`input[name=anchor][value=${anchor}]`)?.click();
  else if (event.key === "[" || event.key === "]") setTau(state.tau + (event.key === "]" ? 0.1 : -0.1));
  else if (event.key === "+" || event.key === "=") zoom(1.25);
  else if (event.key === "-") zoom(0.8);
  else if (event.key === "0") fit();
  else if (event.key === "b") $("show-bits").click();
  else if (event.key.startsWith("Arrow")) {
    state.x += { ArrowLeft: 40, ArrowRight: -40 }[event.key] ?? 0;
    state.y += { ArrowUp: 40, ArrowDown: -40 }[event.key] ?? 0;
    place();
    settle();
  } else return;
  event.preventDefault();
}

async function download() {
  const canvas = Object.assign(document.createElement("canvas"), { width: state.width, height: state.height });
  await draw(canvas, shown, [], pieces({ x: 0, y: 0, w: state.width, h: state.height }));
  const link = document.createElement("a");
  const how = shown.anchors.length ? `-${state.anchor}-${state.tau}` : "";
  link.download = `${shown.label.replace(/\.[^.]*$/, "")}${how}.png`;
  link.href = URL.createObjectURL(await new Promise((done) => canvas.toBlob(done, "image/png")));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function start() {
  try {
    const facts = window.NIC_STATIC ?? (await (await fetch("facts")).json());
    sources = window.NIC_STATIC ? staticSources(facts.items) : liveSources(facts);
    shown = sources[0];
    Object.assign(state, { width: facts.width, height: facts.height });
    title();
    for (const id of ["left", "right"]) Object.assign($(id), { width: facts.width, height: facts.height });
    Object.assign($("bits"), { width: facts.width, height: facts.height });
    fillControls();
    listen();
    fit();
  } catch (error) {
    say(`The file cannot be shown: ${error.message}`, true);
  }
}

start();
