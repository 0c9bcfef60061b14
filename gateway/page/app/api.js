// Calls of the platform's public JSON API, as any other program makes them.

import { key } from "./key.js";

export const DATASETS = "pequod.finetune.v1.DatasetService";
export const DIFFUSION = "pequod.diffusion.v1.DiffusionService";
export const EMBEDDING = "pequod.tokenizer.v1.EmbeddingService";
export const FINETUNE = "pequod.finetune.v1.FineTuneService";
export const GAN = "pequod.gan.v1.GanService";
export const MODELS = "pequod.model.v1.ModelService";
export const SAMPLER = "pequod.sampler.v1.SamplerService";
export const TOKENIZER = "pequod.tokenizer.v1.TokenizerService";

/** What the platform, or the way to it, has against a call. `message` is a sentence for people. */
export class Problem extends Error {
  /**
   * `fields`: [path, why] of the request's fields at fault; `status`: HTTP's, 0 where nothing answered;
   * `retry`: seconds after which to try again, 0 where that is of no use.
   */
  constructor(message, { status = 0, reason = "", fields = [], retry = 0 } = {}) {
    super(message);
    Object.assign(this, { status, reason, fields, retry });
  }
}

/** The reply of a method with one. Throws Problem. */
export async function call(method, body = {}, signal = undefined) {
  const reply = await send(method, JSON.stringify(body), "application/json", signal);
  return reached(() => reply.json());
}

/** The replies of a method with many, as they come. Leaving the loop ends the call. Throws Problem. */
export async function* stream(method, body = {}, signal = undefined) {
  const reply = await send(method, JSON.stringify(body), "application/json", signal);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reached(() => reader.read());
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.filter(Boolean)) yield understood(line);
    }
  } finally {
    reader.cancel().catch(() => {}); // it has ended already where the call failed
  }
}

/** Sends a file to `/v1/files`; returns the data set's id. Throws Problem. */
export async function upload(file, signal) {
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", file);
  const reply = await send("v1/files", form, null, signal);
  return (await reached(() => reply.json())).id;
}

/** What `/readyz` says, ready or not. */
export async function readiness(signal) {
  const reply = await reached(() => fetch("readyz", { signal, cache: "no-store", credentials: "omit" }));
  return reached(() => reply.json());
}

async function send(path, body, type, signal) {
  const headers = {};
  if (type) headers["content-type"] = type;
  if (key()) headers.authorization = `Bearer ${key()}`;
  const reply = await reached(() =>
    fetch(path, { method: "POST", headers, body, signal, cache: "no-store", credentials: "omit" }),
  );
  if (reply.ok) return reply;
  const retry = Number(reply.headers.get("retry-after")) || 0;
  let error = {};
  try {
    error = (await reply.json()).error ?? {};
  } catch {
    // Something between here and the platform answered in its own words.
  }
  throw problem(error, reply.status, retry);
}

async function reached(act) {
  try {
    return await act();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The platform does not answer. Is it running?");
  }
}

function understood(line) {
  const event = JSON.parse(line);
  if (event.error?.status) throw problem(event.error, 200, 0);
  return event;
}

function problem(error, status, retry) {
  const details = error.details ?? [];
  const fields = details
    .flatMap((each) => each.fieldViolations ?? [])
    .map((each) => [each.field ?? "", each.description ?? ""]);
  if (error.param && !fields.length) fields.push([error.param, error.message]);
  const reason = details.find((each) => each.reason)?.reason ?? error.code ?? "";
  const said = error.message || `The answer was HTTP ${status} and nothing else.`;
  return new Problem(sentence(status, said, retry), { status, reason, fields, retry });
}

function sentence(status, said, retry) {
  if (status === 401) {
    return key()
      ? `The key at the top is not accepted: ${said}`
      : `A key is needed: type yours at the top. (${said})`;
  }
  if (status === 403) return `The key at the top does not allow this: ${said}`;
  return retry ? `${said.replace(/[^.!?]$/, "$&.")} Try again in ${retry} s.` : said;
}
