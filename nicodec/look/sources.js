"use strict";
// What can be shown. A source gives the pixels of a box; the live page asks the server for them, the page of
// `nicodec compare` has them in NIC_STATIC.

function query(parameters) {
  return new URLSearchParams(parameters).toString();
}

async function answer(url) {
  const response = await fetch(url).catch(() => { throw new Error("nicodec view has ended; start it again"); });
  if (!response.ok) throw new Error(await response.text());
  const header = (name) => response.headers.get(name) ?? "";
  return { bitmap: await createImageBitmap(await response.blob()), error: header("X-MSE"), note: header("X-Note") };
}

function liveSources(facts) {
  const ask = (name, parameters) => (b) => answer(`${name}?` + query({ ...parameters(), box: `${b.x},${b.y},${b.w},${b.h}` }));
  const other = { detail: "", anchors: [], tau: false };
  const parts = Object.entries(facts.sections).map(([name, size]) => `${name} ${size}`).join(" + ");
  const ours = {
    label: facts.name, detail: `${facts.bytes} bytes (${parts}), ${facts.bpp} bpp`, anchors: facts.anchors, tau: facts.tau,
    get: ask("picture", () => ({ anchor: state.anchor, tau: state.tau, steps: state.steps })),
  };
  const rivals = facts.rivals.map((kind) => ({ ...other, label: kind.toUpperCase(), get: ask("rival", () => ({ kind })) }));
  const original = { ...other, label: "original", get: ask("original", () => ({})) };
  return facts.original ? [ours, original, ...rivals] : [ours];
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
        return { bitmap: await createImageBitmap(await loaded.get(uri), b.x, b.y, b.w, b.h), error: "", note: "" };
      },
    };
  });
}
