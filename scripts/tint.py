"""Compiles a folder of WGSL kernels in a browser (tint) on SwiftShader: python3 scripts/tint.py FOLDER

Kernels with 64-bit types are no browser's and are counted apart. A kernel that uses subgroups gets the lines that
`src/gpu/kernels.rs` puts before it for browsers. Ends with 1 when tint refuses a kernel, 2 when the browser gives no answer.
"""

import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

PAGE = """<!doctype html><script>
const post = (data) => fetch('/result', {method: 'POST', body: JSON.stringify(data)});
(async () => {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return post({fatal: 'no WebGPU adapter'});
  const requiredFeatures = ['subgroups', 'shader-f16'].filter((f) => adapter.features.has(f));
  const device = await adapter.requestDevice({requiredFeatures, requiredLimits: {
    maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage}});
  device.lost.then((info) => post({fatal: 'device lost: ' + info.message}));
  const failed = [], lacking = [], crowded = [];
  const kernels = await (await fetch('/kernels')).json();
  for (const {name, code, needs, buffers} of kernels) {
    if (needs.some((f) => !requiredFeatures.includes(f))) { lacking.push(name); continue; }
    const fits = buffers <= adapter.limits.maxStorageBuffersPerShaderStage;
    if (!fits) crowded.push(name);
    const module = device.createShaderModule({code});
    const messages = (await module.getCompilationInfo()).messages.filter((m) => m.type === 'error');
    let why = messages.map((m) => m.lineNum + ': ' + m.message).join('; ');
    // one that was made for an adapter with more bindings is parsed and checked, but no pipeline
    if (!why && fits) {
      try { await device.createComputePipelineAsync({layout: 'auto', compute: {module, entryPoint: 'main'}}); }
      catch (e) { why = 'pipeline: ' + e.message; }
    }
    if (why) failed.push([name, why]);
  }
  await post({adapter: adapter.info.vendor + ' ' + adapter.info.architecture, requiredFeatures, failed, lacking, crowded,
              tried: kernels.length - lacking.length});
})().catch((e) => post({fatal: String(e)}));
</script>"""
FLAGS = ["--headless", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
         "--enable-features=Vulkan", "--no-first-run", "--disable-dev-shm-usage"]
WAIT = 900  # seconds


def load(folder):
    kernels, native = [], 0
    for path in sorted(pathlib.Path(folder).glob("*.wgsl")):
        code = path.read_text()
        if re.search(r"\b(vec[234]<)?(f64|i64|u64)\b", code):
            native += 1
            continue
        subgroups = "subgroup" in code
        needs = ["subgroups"] * subgroups + ["shader-f16"] * ("enable f16;" in code)
        enable = "enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n" if subgroups else ""
        buffers = len(re.findall(r"var<storage", code))
        kernels.append({"name": path.name, "code": enable + code, "needs": needs, "buffers": buffers})
    return kernels, native


def main():
    kernels, native = load(sys.argv[1])
    result, done = {}, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body, kind = (json.dumps(kernels), "application/json") if self.path == "/kernels" else (PAGE, "text/html")
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self):
            result.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = ["chromium", *FLAGS, f"--user-data-dir={home}", f"http://localhost:{server.server_port}/",
                   "--remote-debugging-port=0"]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done.wait(WAIT)
        browser.terminate()
        browser.wait(30)
    if "tried" not in result:
        print(f"tint: {result.get('fatal', 'no answer from chromium')}")
        return 2
    for name, why in result["failed"]:
        print(f"tint: {name}: {why}")
    print(f"tint ({result['adapter']}, {', '.join(result['requiredFeatures']) or 'no features'}): "
          f"{result['tried'] - len(result['failed'])} of {result['tried']} kernels compile; "
          f"{len(result['crowded'])} without a pipeline, for more bindings than this adapter has; "
          f"{len(result['lacking'])} need a feature that this adapter lacks, {native} have 64-bit types")
    return 1 if result["failed"] else 0


sys.exit(main())
