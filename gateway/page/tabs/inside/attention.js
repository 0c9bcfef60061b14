// Which positions a head looks at, for one layer and head at a time.

import { h, percent } from "../../app/dom.js";
import { control, slider } from "../../app/fields.js";
import { heat } from "../../parts/heat.js";
import { visible } from "../../parts/bars.js";

const MEAN = 0;

/** `show(layers, tokens)` of an InspectResponse. */
export function attentionPart() {
  const layer = slider("layer", "Layer", { value: 1, min: 1, max: 1 });
  const head = slider("head", "Head", {
    value: 0,
    min: 0,
    max: 0,
    shown: (n) => (n === MEAN ? "all, their mean" : String(n)),
  });
  const room = h("div", { class: "figure" });
  const note = h("p", { class: "note", role: "status" }, "A row for each token: what it looks at.");
  let seen = null;
  const draw = () => {
    if (!seen) return;
    const { heads } = seen.layers[Number(control(layer).value)];
    const chosen = Number(control(head).value);
    const weights = chosen === MEAN ? mean(heads) : heads[chosen - 1].weights;
    const names = seen.tokens.map(visible);
    const rows = names.map((_, i) => weights.slice(i * names.length, (i + 1) * names.length));
    const tell = (i) => {
      note.textContent = sentence(names, rows[i], i);
    };
    room.replaceChildren(
      heat(rows, names, names, { label: "Attention: rows look at columns", say: percent, act: tell }),
    );
    tell(names.length - 1);
  };
  for (const each of [layer, head]) control(each).addEventListener("input", draw);
  return {
    element: h("div", {}, h("h4", {}, "Attention"), h("div", { class: "fields" }, layer, head), room, note),
    show(layers, tokens) {
      seen = { layers: layers.filter((each) => each.heads?.length), tokens };
      seen.layers.unshift(null); // so that layer 1 is at 1
      control(layer).max = seen.layers.length - 1;
      control(head).max = seen.layers[1].heads.length;
      draw();
    },
  };
}

function mean(heads) {
  return heads[0].weights.map((_, i) => heads.reduce((sum, each) => sum + each.weights[i], 0) / heads.length);
}

function sentence(names, row, i) {
  const most = row
    .map((weight, j) => [weight, names[j]])
    .sort((a, b) => b[0] - a[0])
    .slice(0, 3);
  const seen = most.map(([weight, name]) => `“${name}” (${percent(weight)})`);
  return `“${names[i]}” looks at ${seen.join(", ")}.`;
}
