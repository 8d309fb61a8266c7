// What the browser gives for WebGPU: an adapter, described in words, or the reason why there is none.

const PATIENCE_MS = 5000;

export async function findGpu() {
  if (!isSecureContext) return { words: "WebGPU needs a secure page, so networks run in WebAssembly only." };
  if (!navigator.gpu) return { words: "This browser has no WebGPU, so networks run in WebAssembly only." };
  const late = new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS, null); });
  const adapter = await Promise.race([navigator.gpu.requestAdapter().catch(() => null), late]);
  if (!adapter) return { words: "This browser has WebGPU but gives no adapter, so networks run in WebAssembly only." };
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info ?? {};
  const name = [vendor, architecture, device, description].filter(Boolean).join(" ").slice(0, 200) || "unnamed adapter";
  const software = isFallbackAdapter ?? adapter.isFallbackAdapter ?? null;
  const kind = software ? ", which is software and computes on the processor" : "";
  return { name, software, words: `This browser has WebGPU on ${name}${kind}.` };
}
