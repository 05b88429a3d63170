"use strict";
// Two canvases lie on one plane: what is looked at, and what lies beside it, cut off at the split. A source gives the
// pixels of a box; the live page asks the server for them, the page of `nicodec compare` has them in NIC_STATIC.

const $ = (id) => document.getElementById(id);
const PROXY = 384; // pixels of the piece that is drawn first while a slider moves
const state = { anchor: "fidelity", tau: 0, steps: 4, split: 0.5, zoom: 1, x: 0, y: 0, width: 1, height: 1 };
let sources = [], shown = null, beside = null;

function query(parameters) {
  return new URLSearchParams(parameters).toString();
}

async function answer(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(await response.text());
  return { bitmap: await createImageBitmap(await response.blob()), psnr: response.headers.get("X-PSNR") };
}

function liveSources(facts) {
  const box = (b) => `${b.x},${b.y},${b.w},${b.h}`;
  const ours = {
    label: facts.name, detail: `${facts.bytes} bytes, ${facts.bpp} bpp`, anchors: facts.anchors, tau: facts.tau,
    get: (b, signal) => answer("picture?" + query({ anchor: state.anchor, tau: state.tau, steps: state.steps, box: box(b) }), signal),
  };
  const others = Object.entries(facts.rivals).map(([kind, r]) => ({
    label: `${kind.toUpperCase()} q${r.quality}`, detail: `${r.bytes} bytes`, anchors: [], tau: false,
    get: (b, signal) => answer("rival?" + query({ kind, box: box(b) }), signal),
  }));
  const original = { label: "original", detail: "", anchors: [], tau: false, get: (b, s) => answer("original?" + query({ box: box(b) }), s) };
  return [ours, ...(facts.original ? [original] : []), ...others];
}

function staticSources(items) {
  return items.map((item) => {
    const loaded = new Map();
    const pick = () => {
      const taus = item.pictures[state.anchor] ?? Object.values(item.pictures)[0];
      const tau = Object.keys(taus).sort((a, b) => Math.abs(a - state.tau) - Math.abs(b - state.tau))[0];
      return taus[tau];
    };
    return {
      label: item.label, detail: item.detail, anchors: item.anchors, tau: item.tau,
      get: async (b) => {
        const uri = pick();
        if (!loaded.has(uri)) loaded.set(uri, createImageBitmap(await (await fetch(uri)).blob()));
        return { bitmap: await createImageBitmap(await loaded.get(uri), b.x, b.y, b.w, b.h), psnr: null };
      },
    };
  });
}

// --- drawing

const pending = new Map(); // canvas -> AbortController of what is on its way to it

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

async function draw(canvas, source, boxes) {
  pending.get(canvas)?.abort();
  const control = new AbortController();
  pending.set(canvas, control);
  $("stage").setAttribute("aria-busy", "true");
  try {
    for (const b of boxes) {
      const started = performance.now();
      const { bitmap, psnr } = await source.get(b, control.signal);
      if (control.signal.aborted) return;
      canvas.getContext("2d").drawImage(bitmap, b.x, b.y);
      if (source === shown) {
        document.body.dataset.milliseconds = String(Math.round(performance.now() - started));
        describe(psnr, b);
      }
    }
    say("");
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  } finally {
    if (pending.get(canvas) === control) pending.delete(canvas);
    $("stage").setAttribute("aria-busy", String(pending.size > 0));
  }
}

function update(quick) {
  const whole = visible();
  const first = centre(whole);
  const boxes = first.w * first.h < 0.8 * whole.w * whole.h ? [first, whole] : [whole];
  draw($("left"), shown, quick ? boxes : [whole]);
  if (beside) draw($("right"), beside, [whole]);
}

function describe(psnr, b) {
  const part = b.w === state.width && b.h === state.height ? "" : " here";
  $("detail").textContent = `${shown.detail}${psnr && psnr !== "inf" ? `, ${psnr} dB${part}` : ""}`;
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
  $("beside").append(new Option("nothing", ""), ...sources.map((s, i) => new Option(s.label, String(i))).slice(1));
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
  await draw(canvas, shown, [{ x: 0, y: 0, w: state.width, h: state.height }]);
  const link = document.createElement("a");
  link.download = `${shown.label.replace(/\.[^.]*$/, "")}-${state.anchor}-${state.tau}.png`;
  link.href = canvas.toDataURL("image/png");
  link.click();
}

async function start() {
  try {
    const facts = window.NIC_STATIC ?? (await (await fetch("facts")).json());
    sources = window.NIC_STATIC ? staticSources(facts.items) : liveSources(facts);
    shown = sources[0];
    Object.assign(state, { width: facts.width, height: facts.height });
    document.title = $("name").textContent = shown.label;
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
