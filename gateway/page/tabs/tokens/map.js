// Chosen words on a plane: their vectors' two main directions.

import { call, EMBEDDING } from "../../app/api.js";
import { card, h, percent } from "../../app/dom.js";
import { text } from "../../app/fields.js";
import { modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";
import { wordMap } from "../../parts/map.js";
import { flat } from "../../parts/pca.js";

const EXAMPLES = [
  [
    "Families, seas, meals",
    {
      map:
        "father mother brother sister daughter\nship whale ocean harpoon sailor\n" +
        "bread dinner supper tea wine",
    },
  ],
  ["Kings and queens", { map: "king prince man husband father\nqueen princess woman wife mother" }],
  ["Numbers and colours", { map: "one two three four five six\nred blue green white black yellow" }],
];
const GROUPS = 6;

export function mapCard() {
  const room = h("div", { class: "figure wide", tabindex: 0, role: "group", "aria-label": "The map" });
  const note = h("p", { class: "note" });
  const form = task({
    label: "Draw",
    examples: EXAMPLES,
    fields: [
      text("map", "Words", {
        value: EXAMPLES[0][1].map,
        rows: 4,
        required: true,
        hint: "A line is a colour.",
      }),
      modelField("map_model", "Vectors", ofKind("WORD_VECTORS"), { prefer: "words" }),
    ],
    run: async (given, at) => {
      const entries = given.map.split("\n").flatMap((line, i) =>
        line
          .split(/[\s,]+/)
          .filter(Boolean)
          .map((word) => ({ word, group: i % GROUPS })),
      );
      const asked = {
        model: given.map_model,
        inputs: entries.map(({ word }) => ({ text: word })),
        options: { normalize: true },
      };
      const found = (await call(`${EMBEDDING}/Embed`, asked, at.signal)).embeddings;
      if (found.length < 3) return "Three words at least make a map.";
      const { points, shares } = flat(found.map((each) => each.values));
      room.replaceChildren(
        wordMap(entries.map((each, i) => ({ ...each, x: points[i][0], y: points[i][1] }))),
      );
      note.textContent =
        `From ${found[0].values.length} dimensions to two, which hold ${percent(shares[0])} and ` +
        `${percent(shares[1])} of what tells these words apart.`;
      return `${entries.length} words.`;
    },
  });
  return card("A map of words", h("div", { class: "split" }, form, h("div", {}, room, note)));
}
