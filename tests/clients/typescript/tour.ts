// The whole tour of the API with openapi-fetch and the types that openapi-typescript makes: `node built/tour.js URL`.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Problem = components["schemas"]["Problem"];

type Put = components["schemas"]["PutFileChange"];
type Link = components["schemas"]["PutLinkChange"];
// @ts-expect-error: the content is either text or any bytes
export const twice: Put = { op: "put", path: "a", text: "x", content_base64: "eA==" };
// @ts-expect-error: and it is one of the two
export const empty: Put = { op: "put", path: "a" };
// @ts-expect-error: so is what a link points to
export const loose: Link = { op: "link", path: "a" };

declare const process: { argv: string[] };

const url = process.argv[2];
if (url === undefined) throw new Error("tour.js URL");
const api = createClient<paths>({ baseUrl: url });
const CONTENT = "hello\nünï\n";
const PATH = "src/deep er/ünï.txt";

function check(holds: boolean, claim: string): asserts holds {
  if (!holds) throw new Error(claim);
}

/** What was asked for. */
function told<T>(answer: { data?: T | undefined; error?: unknown; response: Response }): T {
  check(answer.response.ok && answer.data !== undefined, `${answer.response.url}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

function refused(answer: { error?: Problem | undefined; response: Response }, status: number, code: string): Problem {
  const { error, response } = answer;
  check(response.status === status && error?.code === code, `${response.url}: ${response.status} ${error?.code}`);
  return error;
}

/** A body that is bytes: openapi-typescript writes them as a string, and they are sent as they are. */
const bytes = { headers: { "Content-Type": "application/octet-stream" }, bodySerializer: (body: string) => body };

function file(project: string, path: string) {
  return { path: { project, path } };
}

async function files(): Promise<void> {
  const made = told(await api.POST("/api/v1/projects", { body: { name: "demo" } }));
  check(made.generation === 0 && made.name === "demo", "a new project is empty");
  refused(await api.POST("/api/v1/projects", { body: { name: "demo" } }), 409, "already_exists");
  const target = { params: file("demo", PATH) };
  const put = told(await api.PUT("/api/v1/projects/{project}/files/{path}", { ...target, ...bytes, body: CONTENT }));
  check(put.generation === 1, "a write is a commit");
  const read = await api.GET("/api/v1/projects/{project}/files/{path}", { ...target, parseAs: "text" });
  check(told(read) === CONTENT, "what was written is read");
  refused(
    await api.POST("/api/v1/projects/{project}/files/{path}", { ...target, ...bytes, body: "" }),
    409,
    "already_exists",
  );
  const absent = { params: file("demo", "no/such"), parseAs: "text" } as const;
  check((await api.GET("/api/v1/projects/{project}/files/{path}", absent)).response.status === 404, "absent is 404");
  const head = await api.HEAD("/api/v1/projects/{project}/files/{path}", target);
  const etag = head.response.headers.get("etag");
  check(etag !== null, "a file has an ETag");
  const again = await api.GET("/api/v1/projects/{project}/files/{path}", {
    params: { ...file("demo", PATH), header: { "If-None-Match": etag } },
    parseAs: "text",
  });
  check(again.response.status === 304, "a version that the client has is not sent again");
  const folder = { params: file("demo", "src/deep er") };
  const listed = told(await api.GET("/api/v1/projects/{project}/tree/{path}", folder));
  check(listed.items.map((entry) => entry.path).join() === PATH, "a folder is listed");
  const both = told(
    await api.POST("/api/v1/projects/{project}/read", {
      params: { path: { project: "demo" } },
      body: { paths: [{ path: PATH }, { path: "absent" }] },
    }),
  );
  check(both.items[0]?.path === PATH && both.absent[0]?.path === "absent", "many files are read at once");
}

async function preconditions(): Promise<void> {
  const found = await api.GET("/api/v1/projects/{project}", { params: { path: { project: "demo" } } });
  const etag = found.response.headers.get("etag");
  check(etag !== null, "a project has an ETag");
  const params = { ...file("demo", "a.txt"), header: { "If-Match": etag } };
  told(await api.PUT("/api/v1/projects/{project}/files/{path}", { params, ...bytes, body: "1" }));
  const late = await api.PUT("/api/v1/projects/{project}/files/{path}", { params, ...bytes, body: "2" });
  refused(late, 412, "precondition_failed");
}

async function history(): Promise<void> {
  const demo = { path: { project: "demo" } };
  const changes = told(
    await api.POST("/api/v1/projects/{project}/commits", {
      params: demo,
      body: {
        message: "three changes",
        changes: [
          { op: "put", path: "run.sh", text: "#!/bin/sh\n", mode: "755" },
          { op: "link", path: "latest", target: "run.sh" },
          { op: "delete", path: "a.txt" },
        ],
      },
    }),
  );
  check(changes.paths_total === 3, "changes are one commit");
  told(await api.POST("/api/v1/projects/{project}/dirs", { params: demo, body: { path: "docs" } }));
  const moved = told(
    await api.POST("/api/v1/projects/{project}/move", {
      params: demo,
      body: { source: { path: "run.sh" }, destination: { path: "docs/run.sh" } },
    }),
  );
  const log = told(await api.GET("/api/v1/projects/{project}/commits", { params: { ...demo, query: { limit: 1 } } }));
  check(log.items[0]?.generation === moved.generation, "the newest commit comes first");
  const span = { before: changes.generation, after: moved.generation };
  const found = told(await api.GET("/api/v1/projects/{project}/diff", { params: { ...demo, query: span } }));
  check(found.items.map((one) => `${one.change} ${one.path}`).includes("added docs/run.sh"), "a diff names the paths");
  const back = told(
    await api.POST("/api/v1/projects/{project}/restore", { params: demo, body: { generation: changes.generation } }),
  );
  if (!("generation" in back)) throw new Error("no job was asked for");
  check(back.generation === moved.generation + 1, "a restore is a new generation");
  told(
    await api.DELETE("/api/v1/projects/{project}/files/{path}", {
      params: { ...file("demo", "src"), query: { recursive: true } },
    }),
  );
}

async function tags(): Promise<void> {
  const demo = { path: { project: "demo" } };
  const address = "/api/v1/projects/{project}/tags/{tag}";
  const release = { path: { project: "demo", tag: "release-1" } };
  const made = told(await api.PUT(address, { params: release, body: { generation: 1 } }));
  const query = { generation: "release-1" };
  const tree = told(await api.GET("/api/v1/projects/{project}/tree", { params: { ...demo, query } }));
  check(tree.generation === made.generation, "a tag is named where a generation can be");
  refused(await api.PUT(address, { params: release, body: { generation: 2 } }), 409, "already_exists");
  const header = { "If-Match": `"${made.generation}-${made.commit}"` };
  told(await api.PUT(address, { params: { ...release, header }, body: { generation: 2 } }));
  const listed = told(await api.GET("/api/v1/projects/{project}/tags", { params: demo }));
  check(listed.items.map((one) => one.generation).join() === "2", "a tag was moved");
  refused(await api.DELETE(address, { params: { ...release, header } }), 412, "precondition_failed");
  check((await api.DELETE(address, { params: release })).response.status === 204, "removed");
}

async function events(): Promise<void> {
  const demo = { path: { project: "demo" } };
  const address = "/api/v1/projects/{project}/events";
  const begun = told(await api.GET(address, { params: { ...demo, query: { since: "now" } } }));
  if (typeof begun === "string") throw new Error("JSON was asked for");
  check(begun.events.length === 0 && !begun.has_more, "nothing has happened since now");
  const made = told(await api.POST("/api/v1/projects/{project}/dirs", { params: demo, body: { path: "told" } }));
  const more = { ...demo, query: { since: begun.next_cursor, wait: 5 } };
  const found = told(await api.GET(address, { params: more }));
  if (typeof found === "string") throw new Error("JSON was asked for");
  check(found.events.map((one) => one.data.generation).join() === `${made.generation}`, "events lead on");
  const everything = told(await api.GET("/api/v1/events"));
  check(typeof everything !== "string" && everything.events.length > 2, "all projects have events");
}

async function archives(): Promise<void> {
  const archive = told(
    await api.GET("/api/v1/projects/{project}/archive", {
      params: { path: { project: "demo" }, query: { format: "zip" } },
      parseAs: "arrayBuffer",
    }),
  );
  told(await api.POST("/api/v1/projects", { body: { name: "copy" } }));
  const loaded = told(
    await api.POST("/api/v1/projects/{project}/archive", {
      params: { path: { project: "copy" }, query: { folder: "from/demo" } },
      headers: { "Content-Type": "application/zip" },
      body: "",
      bodySerializer: () => archive,
    }),
  );
  if (!("entries" in loaded)) throw new Error("no job was asked for");
  check(loaded.entries > 0, "an archive goes in again");
  const read = await api.GET("/api/v1/projects/{project}/files/{path}", {
    params: file("copy", "from/demo/run.sh"),
    parseAs: "text",
  });
  check(told(read) === "#!/bin/sh\n", "with what was in it");
}

async function parts(): Promise<void> {
  const project = { project: "demo" };
  const version = { "Tus-Resumable": "1.0.0" };
  const uploads = "/api/v1/projects/{project}/resumable-uploads";
  const told = await api.OPTIONS(uploads, { params: { path: project } });
  check(told.response.headers.get("tus-version") === "1.0.0", "the server speaks tus");
  const header = { ...version, "Upload-Length": CONTENT.length, "Upload-Metadata": `path ${btoa("parts.txt")}` };
  const made = await api.POST(uploads, { params: { path: project, header } });
  const id = made.response.headers.get("location")?.split("/").pop();
  check(id !== undefined, "an upload has an address");
  const path = { ...project, upload: id };
  const body = (text: string) => text;
  const sent = { headers: { "Content-Type": "application/offset+octet-stream" }, bodySerializer: body };
  const ascii = CONTENT.replace(/[^\x00-\x7f]/g, "u");
  for (const [at, part] of [[0, ascii.slice(0, 3)], [3, ascii.slice(3)]] as const) {
    const looked = await api.HEAD(`${uploads}/{upload}`, { params: { path, header: version } });
    check(looked.response.headers.get("upload-offset") === String(at), "it is known how far an upload is");
    const params = { path, header: { ...version, "Upload-Offset": at } };
    const answer = await api.PATCH(`${uploads}/{upload}`, { params, ...sent, body: part });
    check(answer.response.status === 204, `a part is taken: ${JSON.stringify(answer.error)}`);
  }
  const read = await api.GET("/api/v1/projects/{project}/files/{path}", {
    params: file("demo", "parts.txt"),
    parseAs: "text",
  });
  check(read.data === ascii, "parts become a file");
  const ended = await api.DELETE(`${uploads}/{upload}`, { params: { path, header: version } });
  check(ended.response.status === 204, "an upload is ended");
}

async function sessions(): Promise<void> {
  const session = { path: { session: "agent-1" } };
  const opened = told(await api.POST("/api/v1/sessions", { body: { project: "demo", session: "agent-1" } }));
  check(opened.kind === "new", "a session is opened");
  const status = told(await api.GET("/api/v1/sessions/{session}/status", { params: session }));
  check(status.differences_total === 0, "nothing is changed yet");
  check(told(await api.POST("/api/v1/sessions/{session}/save", { params: session })).draft === null, "nothing to save");
  told(await api.PUT("/api/v1/projects/{project}/files/{path}", { params: file("demo", "b.txt"), ...bytes, body: "b" }));
  const fresh = told(await api.POST("/api/v1/sessions/{session}/checkout", { params: session, body: {} }));
  check(fresh.generation === opened.generation + 1, "a checkout brings what others committed");
  const done = told(await api.POST("/api/v1/sessions/{session}/commit", { params: session, body: { message: "no" } }));
  check(done.commit === null, "nothing to commit");
  check((await api.DELETE("/api/v1/sessions/{session}", { params: session })).response.status === 204, "closed");
  const left = told(await api.GET("/api/v1/sessions", { params: { query: { project: "demo" } } }));
  check(left.items.length === 0, "and gone");
}

async function jobs(): Promise<void> {
  const begun = told(await api.POST("/api/v1/jobs", { body: { kind: "rewrap" } }));
  const path = { job: begun.id };
  const done = await api.GET("/api/v1/jobs/{job}", { params: { path, query: { wait: 50 } } });
  check(told(done).state === "done", "a job is waited for");
  const known = { "If-None-Match": done.response.headers.get("etag") ?? "" };
  const same = await api.GET("/api/v1/jobs/{job}", { params: { path, query: { wait: 1 }, header: known } });
  check(same.response.status === 304, "nothing has changed");
  check(told(await api.GET("/api/v1/jobs/{job}/items", { params: { path } })).items.length === 0, "no key was old");
  const listed = told(await api.GET("/api/v1/jobs", { params: { query: { state: "done" } } }));
  check(listed.items.map((one) => one.id).join() === begun.id, "jobs are listed");
  refused(await api.POST("/api/v1/jobs/{job}/cancel", { params: { path } }), 409, "job_ended");
}

async function deferred(): Promise<void> {
  const archive = "/api/v1/projects/{project}/archive";
  const later = { path: { project: "copy" }, header: { Prefer: "respond-async" } };
  const begun = told(await api.GET(archive, { params: { ...later, query: { format: "tar" } } }));
  if (typeof begun === "string" || !("state" in begun)) throw new Error("a job was asked for");
  const params = { path: { job: begun.id } };
  const done = told(await api.GET("/api/v1/jobs/{job}", { params: { ...params, query: { wait: 50 } } }));
  check(done.state === "done", "an archive is made by a job");
  const made = told(await api.GET("/api/v1/jobs/{job}/result", { params })).archive;
  const data = told(await api.GET("/api/v1/jobs/{job}/content", { params, parseAs: "arrayBuffer" }));
  check(made !== null && (data as unknown as ArrayBuffer).byteLength === made.total_bytes, "and downloaded");
}

async function space(): Promise<void> {
  const params = { path: { project: "demo" } };
  const ruled = told(await api.PUT("/api/v1/projects/{project}/retention", { params, body: { days: 90 } }));
  check(ruled.in_force.days === 90 && ruled.generations === null, "history has rules");
  check(told(await api.GET("/api/v1/projects/{project}/retention", { params })).days === 90, "which are kept");
  check(told(await api.GET("/api/v1/projects/{project}/garbage", { params })).projects.length === 0, "no garbage");
  check(told(await api.GET("/api/v1/projects/{project}/usage", { params })).live === null, "nothing was measured");
  check(told(await api.GET("/api/v1/usage")).items.length === 2, "each project is listed");
}

async function projects(): Promise<void> {
  const demo = { path: { project: "demo" } };
  const fork = told(await api.POST("/api/v1/projects/{project}/fork", { params: demo, body: { name: "forked" } }));
  const forked = { path: { project: fork.id } };
  told(await api.PATCH("/api/v1/projects/{project}", { params: forked, body: { name: "renamed" } }));
  const names = told(await api.GET("/api/v1/projects")).items.map((one) => one.name);
  check(names.join() === "copy,demo,renamed", "projects come by name");
  check((await api.DELETE("/api/v1/projects/{project}", { params: forked })).response.status === 204, "deleted");
  refused(await api.GET("/api/v1/projects/{project}", { params: forked }), 404, "not_found");
  check(told(await api.GET("/health")).status !== "failed", "the server is well");
}

for (const part of [files, preconditions, history, tags, events, archives, parts, sessions, jobs, deferred, space, projects]) await part();
