import timers from 'node:timers'

/**
 * The timers of Node.js, as they are when this module is loaded. Tests of applications may put fake timers in the place
 * of the global functions, under which time stands still until the test says so. Closing and scrapes must not wait for
 * that. No other module may use the global functions.
 */
export const { setTimeout, clearTimeout, setImmediate } = timers
