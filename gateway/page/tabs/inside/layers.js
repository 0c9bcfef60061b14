// What the last position would say if it were read out after each layer.

import { figure, h, percent } from "../../app/dom.js";
import { visible } from "../../parts/bars.js";

const SHOWN = 4;

/** `show(layers)` of an InspectResponse. */
export function layersPart() {
  const body = h("tbody");
  const head = h(
    "tr",
    {},
    ...["Layer", "Length", "Read out here, the next token would be"].map((each) =>
      h("th", { scope: "col" }, each),
    ),
  );
  return {
    element: h(
      "div",
      {},
      h("h4", {}, "Read-out of each layer"),
      h("div", { class: "scroll" }, h("table", { class: "readout" }, h("thead", {}, head), body)),
    ),
    show(layers) {
      body.replaceChildren(...layers.map(row));
    },
  };
}

function row({ layer = 0, residualNorms = [], readout = [] }) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, layer === 0 ? "embedding" : String(layer)),
    h("td", { title: "of the last position's vector" }, figure(residualNorms.at(-1))),
    h(
      "td",
      {},
      h(
        "ul",
        { class: "readings" },
        ...readout.slice(0, SHOWN).map(({ text = "", logprob = 0 }) => {
          const share = Math.exp(logprob);
          const made = h("li", { title: percent(share) }, h("code", {}, visible(text)), ` ${percent(share)}`);
          made.style.setProperty("--share", share.toFixed(3));
          return made;
        }),
      ),
    ),
  );
}
