// Word vectors: sums and differences, neighbours, and how near two words are.

import { call, EMBEDDING } from "../../app/api.js";
import { card, figure } from "../../app/dom.js";
import { text } from "../../app/fields.js";
import { modelField, ofKind } from "../../app/models.js";
import { task } from "../../app/task.js";
import { bars, drawBars } from "../../parts/bars.js";

const ROWS = 8;
const PAIRS = 3;

const vectors = (name) => modelField(name, "Vectors", ofKind("WORD_VECTORS"), { prefer: "words" });

const words = (given) => (given ?? "").split(/[\s,]+/).filter(Boolean);

export function analogyCard() {
  const list = bars(ROWS, "What completes the analogy");
  const form = task({
    label: "Work it out",
    examples: [
      ["man is to woman …", { positive: "man mother", negative: "woman" }],
      ["king", { positive: "king woman", negative: "man" }],
      ["better", { positive: "better big", negative: "good" }],
    ],
    fields: [
      text("positive", "Add", { value: "man mother", required: true }),
      text("negative", "Take away", { value: "woman" }),
      vectors("analogy_model"),
    ],
    run: async (given, at) => {
      const asked = {
        model: given.analogy_model,
        positive: words(given.positive),
        negative: words(given.negative),
        limit: ROWS,
      };
      const found = (await call(`${EMBEDDING}/Analogy`, asked, at.signal)).neighbors ?? [];
      drawBars(list, found.map(entry));
      return found.length ? `Nearest: ${found[0].word}.` : "Nothing is near.";
    },
  });
  return card("Analogy", form, list);
}

export function neighborsCard() {
  const list = bars(ROWS, "The nearest words");
  const form = task({
    label: "Look around",
    examples: ["whale", "ship", "sorrow"].map((word) => [word, { word }]),
    fields: [text("word", "Word", { value: "whale", required: true }), vectors("neighbors_model")],
    run: async (given, at) => {
      const asked = { model: given.neighbors_model, word: given.word, limit: ROWS };
      const found = (await call(`${EMBEDDING}/Neighbors`, asked, at.signal)).neighbors ?? [];
      drawBars(list, found.map(entry));
      return `Nearest: ${found
        .map((each) => each.word)
        .slice(0, 3)
        .join(", ")}.`;
    },
  });
  return card("Neighbours", form, list);
}

export function pairsCard() {
  const list = bars(PAIRS, "How near the pairs are");
  const form = task({
    label: "Compare",
    examples: [
      ["horse", { pairs: "horse cow, horse ocean, horse rider" }],
      ["sea", { pairs: "sea ocean, sea ship, sea tea" }],
    ],
    fields: [
      text("pairs", "Pairs", {
        value: "horse cow, horse ocean, horse rider",
        required: true,
        hint: "Two words, a comma, two words …",
      }),
      vectors("pairs_model"),
    ],
    run: async (given, at) => {
      const pairs = given.pairs
        .split(",")
        .map(words)
        .filter((each) => each.length)
        .map(([first, second = ""]) => ({ first, second }));
      const asked = { model: given.pairs_model, pairs };
      const found = (await call(`${EMBEDDING}/WordSimilarity`, asked, at.signal)).similarities ?? [];
      drawBars(
        list,
        found
          .map(({ cosine = 0, dotProduct = 0 }, i) => ({
            text: `${pairs[i].first} ${pairs[i].second}`,
            share: Math.max(0, cosine),
            title: `dot product ${figure(dotProduct)}`,
          }))
          .sort((a, b) => b.share - a.share),
      );
      return "Cosines of the pairs.";
    },
  });
  return card("Pairs", form, list);
}

const entry = ({ word, similarity = 0, rank = 0 }) => ({
  text: word,
  share: Math.max(0, similarity),
  title: `${rank + 1}. commonest word, cosine ${figure(similarity)}`,
});
