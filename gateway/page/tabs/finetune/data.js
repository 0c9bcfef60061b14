// Data sets: uploaded from here, or made up here to try it.

import { call, DATASETS, upload } from "../../app/api.js";
import { bytes, card, h } from "../../app/dom.js";
import { choice, control, files } from "../../app/fields.js";
import { task } from "../../app/task.js";
import { zipped } from "../../parts/zip.js";
import { captainTalks, faceViews, krakenVerses } from "./examples.js";

const PAUSE = 400;
const SEEN = 16;
const ISSUES = 5;
const FAILED = "DATASET_STATE_FAILED";
const READY = "DATASET_STATE_READY";
const SOURCES = [
  ["files", "the files chosen below"],
  ["faces", "an example: eight views of one face"],
  ["verses", "an example: verses about a kraken"],
  ["talks", "an example: conversations with a captain"],
];

/** `use(dataset)` is called with one that is ready. */
export function dataCard(use) {
  const report = h("div", { class: "report" });
  const sight = h("div", { class: "grid small" });
  const file = files("data_files", "Files", {
    accept: "image/*,.txt,.md,.jsonl,.zip",
    multiple: true,
    hint:
      "Pictures, texts (.txt, .md, .jsonl) or a zip, 32 MiB together. " +
      "captions.jsonl or .txt files beside pictures hold captions.",
  });
  const source = choice("source", "From", SOURCES, { value: "faces" });
  control(file).addEventListener("change", () => {
    control(source).value = "files";
  });
  const form = task({
    label: "Upload",
    link: false,
    fields: [source, file],
    run: async (given, at) => {
      at.say("Gathering …");
      const chosen = await gathered(given, at.signal);
      if (!chosen.length) return "Choose files first.";
      sight.replaceChildren(
        ...chosen
          .filter((each) => each.type.startsWith("image/"))
          .slice(0, SEEN)
          .map(thumbnail),
      );
      at.say("Sending …");
      const one =
        chosen.length === 1 ? chosen[0] : await zipped(chosen, `${given.source}-${chosen.length}.zip`);
      const dataset = await checked(await upload(one, at.signal), at);
      report.replaceChildren(...told(dataset));
      if (dataset.state === FAILED) return "Refused.";
      use(dataset);
      return "Ready.";
    },
  });
  return card("1 · Data", form, sight, report);
}

function thumbnail(file) {
  const url = URL.createObjectURL(file);
  return h(
    "span",
    { class: "pick" },
    h("img", { src: url, alt: file.name, onload: () => URL.revokeObjectURL(url) }),
  );
}

function gathered(given, signal) {
  if (given.source === "faces") return faceViews(signal);
  if (given.source === "verses") return krakenVerses();
  if (given.source === "talks") return captainTalks();
  return given.data_files;
}

async function checked(datasetId, at) {
  for (;;) {
    const { dataset } = await call(`${DATASETS}/GetDataset`, { datasetId }, at.signal);
    if ([READY, FAILED].includes(dataset.state)) return dataset;
    at.say("Being checked …");
    await new Promise((resolve) => {
      setTimeout(resolve, PAUSE);
    });
  }
}

function told({ displayName, error, report = {}, sizeBytes = 0 }) {
  if (error) return [h("p", { class: "wrong" }, error)];
  const parts = [
    `${displayName}: ${report.examples ?? 0} examples, ${bytes(sizeBytes)}`,
    Number(report.captionsMissing ?? 0) && `${report.captionsMissing} without a caption`,
    Number(report.skippedFiles ?? 0) && `${report.skippedFiles} files left out`,
  ];
  const issues = (report.issues ?? [])
    .filter((each) => each.problem !== "FILE_PROBLEM_NO_CAPTION")
    .slice(0, ISSUES);
  return [
    h("p", { class: "note" }, `${parts.filter(Boolean).join(", ")}.`),
    h("ul", { class: "note" }, ...issues.map((each) => h("li", {}, `${each.path}: ${each.message}`))),
  ];
}
