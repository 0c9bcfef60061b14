// The table of what may come next, as bars.

import { call, SAMPLER } from "../../app/api.js";
import { figure, grouped, h } from "../../app/dom.js";
import { bars, drawBars } from "../../parts/bars.js";

const ROWS = 8;

/** `show(wish, signal)` asks and draws; a click on a bar calls `pick(text)`. */
export function nextTokens(title) {
  const list = bars(ROWS, `${title}: what may come next`);
  const note = h("p", { class: "note" });
  const made = {
    element: h("div", { class: "next" }, h("h4", {}, "What may come next"), list, note),
    pick: () => {},
    show: async (wish, signal) => {
      if (!wish) {
        drawBars(list, []);
        note.textContent = "";
        return;
      }
      try {
        const table = await call(`${SAMPLER}/NextTokens`, { ...wish, limit: ROWS }, signal);
        drawBars(list, (table.tokens ?? []).map(entry), (text) => made.pick(text));
        note.textContent = sentence(table);
      } catch (error) {
        if (error.name === "AbortError") return;
        drawBars(list, []);
        note.textContent = error.message;
      }
    },
  };
  return made;
}

const entry = ({ text = "", probability = 0, count, id = 0 }) => ({
  text,
  share: probability,
  title: count ? `seen ${count} times` : `id ${id}`,
});

function sentence(table) {
  const context = table.contextCount
    ? `; after ${table.contextUsed ?? 0} symbols that were seen ${grouped(table.contextCount)} times`
    : "";
  const choice = `${figure(table.entropyBits ?? 0)} bits of choice among ${table.candidates ?? 0}`;
  return `${choice}${context}. A click writes one.`;
}
