import { FST_LATENCY_ERR_UNAUTHORIZED } from '../errors'

type UnauthorizedError = InstanceType<typeof FST_LATENCY_ERR_UNAUTHORIZED>

/** How long it takes, after a warning, until there may be another one: each time longer, and then always the last. */
const pausesMs = [60_000, 600_000, 3_600_000]

/** Warns of requests with wrong credentials, in few lines however many they are. */
export class AuthenticationFailures {
  readonly #warn: (error: UnauthorizedError) => void
  #warnings = 0
  /** The failures since the last warning. */
  #failures = 0
  #nextMs = 0

  constructor (warn: (error: UnauthorizedError) => void) {
    this.#warn = warn
  }

  /** `source` says who sent the wrong credentials. */
  add (source: string): void {
    this.#failures++
    const now = performance.now()
    if (now < this.#nextMs) return
    this.#warn(new FST_LATENCY_ERR_UNAUTHORIZED(this.#failures, source))
    this.#nextMs = now + pausesMs[Math.min(this.#warnings, pausesMs.length - 1)]!
    this.#warnings++
    this.#failures = 0
  }
}
