// One video's life by a client made of memory.proto alone: node foreign_client.js HOST:PORT PROTOS
// Prints "ok". Sizes: embeddings of 4 values, latents of 16 bytes.
const assert = require('assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protos] = process.argv.slice(2);
const definition = loader.loadSync('memory_service/v1/memory.proto', {
  includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
});
const { memory_service: { v1 } } = grpc.loadPackageDefinition(definition);
const memory = new v1.MemoryService(address, grpc.credentials.createInsecure());

const call = (name, request) => new Promise((resolve, reject) => {
  const deadline = Date.now() + 10000;
  memory[name](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
});
const all = (stream) => new Promise((resolve, reject) => {
  const got = [];
  stream.on('data', (message) => got.push(message)).on('end', () => resolve(got)).on('error', reject);
});

const floats = (...values) => Buffer.from(new Float32Array(values).buffer);
const latent = (frame) => Buffer.alloc(16, frame);
const key = { pool: 'foreign', video: 'take-1' };
const block = (start, n = 3) => {
  const frames = Array.from({ length: n }, (_, i) => start + i);
  return {
    start,
    embeddings: Buffer.concat(frames.map((f) => floats(1, f / 10, (f % 3) / 10, 0))),
    parts: [{ name: 'latent', payloads: frames.map(latent) }],
  };
};

async function append(epoch) {
  assert.strictEqual((await call('Append', { key, block: block(0), epoch })).state.length, 3);
  assert.strictEqual((await call('Append', { key, block: block(0) })).duplicate, true);
  const stream = memory.AppendStream();
  const answers = all(stream);
  stream.write({ key, block: block(3) });
  stream.write({ block: block(6) });
  stream.write({ block: block(9), sync: true });
  stream.end();
  assert.deepStrictEqual((await answers).map((answer) => answer.state.length), [6, 9, 12]);
}

async function read() {
  const eligible = { start: 0, stop: 12 };
  const query = { embedding: floats(1, 0.4, 0.1, 0), k: 2, eligible };
  const [{ hits }] = (await call('Search', { key, queries: [query] })).results;
  assert.strictEqual(hits[0].handle.frame, 4);
  const [{ frame }] = await all(memory.Fetch({ handles: hits.map((hit) => hit.handle) }));
  assert(frame.payloads[0].data.equals(latent(4)));
  const request = { key, block: block(12), query: { k: 3, eligible } };
  const first = await call('Advance', request);
  assert.strictEqual(first.frames.length, 3);
  const known_frames = first.hits.map((hit) => hit.handle.frame);
  const again = await call('Advance', { ...request, known_frames });
  assert(again.duplicate && again.frames.length === 0);
  assert((await call('ListRetrievals', { key })).retrievals.length >= 2);
}

async function branch(epoch) {
  const fork = { pool: key.pool, video: 'take-2' };
  assert.strictEqual((await call('ForkVideo', { parent: key, key: fork, length: 6 })).video.state.length, 6);
  assert.strictEqual((await call('TruncateVideo', { key, length: 4, epoch })).video.state.length, 4);
  const fenced = await call('Append', { key, block: block(4), epoch }).catch((error) => error);
  assert.strictEqual(fenced.code, grpc.status.ABORTED);
  const reel = Buffer.concat((await all(memory.ExportVideo({ key }))).map((message) => message.data));
  const copy = await new Promise((resolve, reject) => {
    const upload = memory.ImportVideo((error, answer) => (error ? reject(error) : resolve(answer)));
    upload.write({ key: { pool: key.pool, video: 'copy' }, data: reel.subarray(0, 100) });
    upload.write({ data: reel.subarray(100) });
    upload.end();
  });
  assert.strictEqual(copy.video.state.length, 4);
  assert((await call('SealVideo', { key })).video.sealed);
}

async function main() {
  const spec = {
    embedding_dim: 4, latent_dtype: 'LATENT_DTYPE_FLOAT32', latent_shape: [2, 2], encoder_id: 'foreign/1',
  };
  const { video: { state: { epoch } } } = await call('CreateVideo', { key, spec });
  const watch = memory.Watch({ pool: key.pool });
  const kinds = new Set();
  watch.on('data', ({ event }) => kinds.add(event.kind)).on('error', () => {});
  await new Promise((resolve) => watch.once('data', resolve));
  await append(epoch);
  await read();
  await branch(epoch);
  const sealed = 'EVENT_KIND_SEALED';
  for (let i = 0; i < 100 && !kinds.has(sealed); i += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert(['EVENT_KIND_APPENDED', 'EVENT_KIND_RETRIEVED', sealed].every((kind) => kinds.has(kind)));
  watch.cancel();
  await call('DropPool', { pool: key.pool, with_videos: true });
  console.log('ok');
  memory.close();
}

main().catch((error) => { console.error(error); process.exit(1); });
