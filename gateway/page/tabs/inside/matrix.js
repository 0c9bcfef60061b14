// The D x N matrix that goes in, as one picture: a column of D numbers for each token.

import { h } from "../../app/dom.js";
import { visible } from "../../parts/bars.js";

const COLUMN = 20;

/** `show(values, dimensions, tokens)`: the first token's numbers, then the second's. */
export function matrix() {
  const canvas = h("canvas", { role: "img", width: 1, height: 1 });
  const names = h("ol", { class: "names" });
  return {
    element: h("div", { class: "scroll" }, h("div", { class: "matrix" }, canvas, names)),
    show(values, dimensions, tokens) {
      draw(canvas, values, dimensions, tokens.length);
      canvas.setAttribute("aria-label", `${dimensions} numbers for each of ${tokens.length} tokens`);
      canvas.parentElement.style.setProperty("--columns", tokens.length);
      names.replaceChildren(...tokens.map((each) => h("li", {}, visible(each))));
    },
  };
}

/** Blue below zero, orange above; strength by how many deviations from it. */
function draw(canvas, values, dimensions, count) {
  const deviation = Math.sqrt(values.reduce((sum, each) => sum + each * each, 0) / values.length) || 1;
  canvas.width = count * COLUMN;
  canvas.height = dimensions;
  const context = canvas.getContext("2d");
  for (let token = 0; token < count; token += 1) {
    for (let i = 0; i < dimensions; i += 1) {
      const part = values[token * dimensions + i] / deviation / 3;
      context.fillStyle = part < 0 ? `rgb(18 110 140 / ${-part})` : `rgb(214 104 30 / ${part})`;
      context.fillRect(token * COLUMN, i, COLUMN - 1, 1);
    }
  }
}
