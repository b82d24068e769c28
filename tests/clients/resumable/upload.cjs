// Uploads of a file in parts with tus-js-client: `node upload.cjs URL FILE`. The connection breaks in the midst of a part,
// and another client goes on from what was kept.
const fs = require("node:fs");
const http = require("node:http");
const tus = require("tus-js-client");

const [url, file] = process.argv.slice(2);
const endpoint = `${url}/api/v1/projects/demo/resumable-uploads`;
const size = fs.statSync(file).size;

function upload(options) {
  return new Promise((resolve, reject) => {
    const one = new tus.Upload(fs.createReadStream(file, { start: 0 }), {
      uploadSize: size,
      chunkSize: 1_000_000,
      retryDelays: [0, 100, 200, 400, 800],
      onError: reject,
      onSuccess: () => resolve(one),
      ...options,
    });
    one.start();
  });
}

/** Make an upload, send half of its first part, and hang up. Returns its address. */
async function broken(path) {
  const headers = {
    "Tus-Resumable": "1.0.0",
    "Upload-Length": String(size),
    "Upload-Metadata": `path ${Buffer.from(path).toString("base64")}`,
  };
  const made = await fetch(endpoint, { method: "POST", headers });
  const where = new URL(made.headers.get("location"), url);
  await new Promise((resolve) => {
    const part = http.request(where, {
      method: "PATCH",
      headers: {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": String(size),
      },
    });
    part.on("error", resolve).on("close", resolve);
    part.write(fs.readFileSync(file).subarray(0, size / 2), () => part.destroy());
  });
  return where.href;
}

async function main() {
  const metadata = { path: "whole.bin", message: "by tus-js-client" };
  const offsets = [];
  const done = await upload({ endpoint, metadata, onChunkComplete: (part, at) => offsets.push(at) });
  if (offsets.at(-1) !== size || offsets.length < 3) throw new Error(`parts end at ${offsets}`);
  await upload({ uploadUrl: done.url, onChunkComplete: () => { throw new Error("a complete upload is sent again"); } });
  await upload({ uploadUrl: await broken("resumed.bin") });
  await tus.Upload.terminate(await broken("ended.bin"));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
