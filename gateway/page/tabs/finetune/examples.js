// Data to try a fine-tune with, made by the platform itself.

import { call, GAN } from "../../app/api.js";
import { pictureUrl } from "../../app/dom.js";
import { models, ofKind, reference } from "../../app/models.js";
import { blobOf } from "../../parts/picture.js";

const SEED = 6;
const VIEWS = [
  ["background:blue", 0],
  ["background:orange", 3],
  ["background:green", 3],
  ["background:purple", 3],
  ["expression:laughing", 2],
  ["expression:sad", 2],
  ["clothes:red", 3],
  ["clothes:black", 3],
];
const LINES = 40;
const ANSWERS = [
  ["Who was Ahab?", "Ahab was the captain of the ship."],
  ["What is the ship called?", "The ship is called the Pequod."],
  ["What do you look for?", "We look for the white whale."],
  ["Where do we sail?", "We sail upon the open sea."],
];

/** One face in several surroundings and moods, as PNG files. */
export async function faceViews(signal) {
  const gan = (await models()).find(ofKind("GAN"));
  const common = {
    model: gan && reference(gan),
    origin: { seed: SEED },
    options: { truncationPsi: 0.7 },
  };
  const edited = ([direction, amount]) =>
    call(`${GAN}/Edit`, { ...common, edits: [{ direction, amount }] }, signal);
  const views = await Promise.all(VIEWS.map(edited));
  return views.map(({ image }, i) => {
    const content = blobOf(pictureUrl(image.image));
    return new File([content], `view-${i + 1}.png`, { type: "image/png" });
  });
}

/** Documents that all speak of the same, as a file of JSON lines. */
export function krakenVerses() {
  const text =
    "The kraken sleeps below the thunders of the upper deep. " +
    "Far, far beneath, in the abysmal sea, it sleeps. ";
  return lines(
    "kraken.jsonl",
    Array.from({ length: LINES }, () => ({ text: text.repeat(4) })),
  );
}

/** Conversations with someone who knows the ship, as a file of JSON lines. */
export function captainTalks() {
  const talk = (question, answer) => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  });
  return lines(
    "captain.jsonl",
    Array.from({ length: LINES }, (_, i) => talk(...ANSWERS[i % ANSWERS.length])),
  );
}

function lines(name, documents) {
  return [
    new File([documents.map((each) => JSON.stringify(each)).join("\n")], name, { type: "application/jsonl" }),
  ];
}
