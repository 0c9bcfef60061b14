// A story as it is written, then a probability table: `npm install`, `node story.mjs [HOST:PORT [KEY]]`.
// The protos are read as they are; nothing is generated.

import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [target = "127.0.0.1:50051", key = ""] = process.argv.slice(2);
const protos = process.env.PROTOS ?? fileURLToPath(new URL("../..", import.meta.url));
const definition = await loader.load("pequod/sampler/v1/sampler.proto", {
  includeDirs: [protos],
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { SamplerService } = grpc.loadPackageDefinition(definition).pequod.sampler.v1;
const client = new SamplerService(target, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
if (key) metadata.set("authorization", `Bearer ${key}`);
const deadline = () => ({ deadline: Date.now() + 60_000 });

try {
  const sampling = { seed: "7" }; // 64 bits are a text in JavaScript
  const request = { prompt: "The old captain", sampling, stopping: { maxTokens: 40 } };
  for await (const { text } of client.GenerateStream(request, metadata, deadline()))
    process.stdout.write(text);
  process.stdout.write("\n");

  const table = await new Promise((resolve, reject) => {
    const asked = { model: "moby-ngram", prompt: "THE Q", ngram: { order: 3 }, limit: 3 };
    client.NextTokens(asked, metadata, deadline(), (error, reply) =>
      error ? reject(error) : resolve(reply),
    );
  });
  for (const { text, probability } of table.tokens) console.log(JSON.stringify(text), probability.toFixed(3));
} catch (error) {
  console.error(`${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  client.close();
}
