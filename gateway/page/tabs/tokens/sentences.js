// How alike sentences are, each with each other.

import { call, EMBEDDING } from "../../app/api.js";
import { card, h } from "../../app/dom.js";
import { text } from "../../app/fields.js";
import { modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";
import { heat } from "../../parts/heat.js";

const LINES = 12;
const SENTENCES =
  "A cat sat on the mat.\nA kitten lies on a rug.\n" +
  "Stocks fell sharply on Friday.\nShares lost ground this week.";

export function sentencesCard() {
  const room = h("div", { class: "figure" });
  const form = task({
    label: "Compare",
    fields: [
      text("sentences", "Sentences", {
        value: SENTENCES,
        rows: 5,
        required: true,
        hint: `One a line, ${LINES} at most.`,
      }),
      modelField("sentences_model", "Embedder", ofKind("TEXT_EMBEDDER", "TEXT_IMAGE_EMBEDDER"), {
        prefer: "minilm",
      }),
    ],
    run: async (given, at) => {
      const lines = given.sentences
        .split("\n")
        .map((each) => each.trim())
        .filter(Boolean)
        .slice(0, LINES);
      const asked = { model: given.sentences_model, left: lines.map((each) => ({ text: each })) };
      const { scores, columns } = await call(`${EMBEDDING}/Similarity`, asked, at.signal);
      const rows = lines.map((_, i) => scores.slice(i * columns, (i + 1) * columns));
      const names = lines.map((each, i) => `${i + 1} ${each}`);
      const numbers = lines.map((_, i) => String(i + 1));
      room.replaceChildren(heat(rows, names, numbers, { label: "Cosines of the sentences", most: 34 }));
      return `${lines.length} sentences, each with each other.`;
    },
  });
  return card("Alike in meaning", h("div", { class: "split" }, form, room));
}
