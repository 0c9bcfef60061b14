// Tokens and meaning: what models read, and where words and sentences stand to each other.

import { h } from "../app/dom.js";
import { cutCard } from "./tokens/cut.js";
import { mapCard } from "./tokens/map.js";
import { analogyCard, neighborsCard, pairsCard } from "./tokens/words.js";
import { sentencesCard } from "./tokens/sentences.js";

export function tokensTab() {
  return [
    h("h2", {}, "Tokens and meaning"),
    h(
      "p",
      { class: "lead" },
      "Models read neither letters nor words but tokens, and turn each into a vector. " +
        "Directions among vectors mean something.",
    ),
    cutCard(),
    h("div", { class: "trio" }, analogyCard(), neighborsCard(), pairsCard()),
    mapCard(),
    sentencesCard(),
  ];
}
