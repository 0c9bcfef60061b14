// Draws avatars: one line of JSON {"style", "options"} on stdin each, SIZE x SIZE pixels of RGB on stdout.
//
//     node draw.mjs SIZE < descriptions.jsonl > pixels.rgb
//
// The designs are CC0 1.0: Open Peeps by Pablo Stanley, Pixel Art by DiceBear.

import { createInterface } from "node:readline";
import { createAvatar } from "@dicebear/core";
import { openPeeps, pixelArt } from "@dicebear/collection";
import { Resvg } from "@resvg/resvg-js";

const STYLES = { "open-peeps": openPeeps, "pixel-art": pixelArt };
const size = Number(process.argv[2]);

for await (const line of createInterface({ input: process.stdin })) {
  const { style, options } = JSON.parse(line);
  const svg = createAvatar(STYLES[style], { seed: "0", ...options }).toString();
  const { pixels } = new Resvg(svg, { fitTo: { mode: "width", value: size } }).render();
  const rgb = Buffer.alloc(size * size * 3);
  for (let pixel = 0; pixel < size * size; pixel++) pixels.copy(rgb, pixel * 3, pixel * 4, pixel * 4 + 3);
  if (!process.stdout.write(rgb)) await new Promise((drained) => process.stdout.once("drain", drained));
}
