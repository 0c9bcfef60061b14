// Fine-tune: from a few files of one's own to a model that is served.

import { h } from "../app/dom.js";
import { dataCard } from "./finetune/data.js";
import { jobCard } from "./finetune/job.js";
import { watchCard } from "./finetune/watch.js";

export function finetuneTab() {
  const watching = watchCard();
  const job = jobCard(watching.follow);
  return [
    h("h2", {}, "Fine-tune"),
    h(
      "p",
      { class: "lead" },
      "A few pictures of someone, or texts in some manner, teach a model what it did not know. " +
        "The best of its checkpoints is served at the end, without a restart.",
    ),
    h("div", { class: "even" }, dataCard(job.use), job.element),
    watching.element,
  ];
}
