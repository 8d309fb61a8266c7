// Statistics of samples as the server computes them (numpy's linear percentiles), and the clock's smallest step.

export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share, low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}

export function variation(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return Math.sqrt(square) / mean;
}

export function timerStep() {
  let least = Infinity;
  for (let round = 0; round < 20; round++) {
    const begun = performance.now();
    let now = begun;
    while (now === begun) now = performance.now();
    least = Math.min(least, now - begun);
  }
  return least;
}

// The number of runs whose mean is a sample, so that the clock's step is at most a hundredth of the time measured.
export function runsPerSample(runMs, stepMs) {
  return Math.max(1, Math.ceil((100 * stepMs) / runMs));
}
