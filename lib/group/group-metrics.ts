/** The metrics about a group. */
export const groupMetrics = {
  members: {
    type: 'gauge',
    name: 'fastify_latency_group_members',
    help: 'Members of the group: fresh ones have answered, stale ones have not, and the counts of gone ones are kept.'
  },
  accepting: {
    type: 'gauge',
    name: 'fastify_latency_group_accepting',
    help: 'Members of the group that accept requests.'
  },
  age: {
    type: 'gauge',
    name: 'fastify_latency_group_oldest_seconds',
    help: 'Age of the oldest counts of a stale member, in seconds.'
  },
  conflicts: {
    type: 'gauge',
    name: 'fastify_latency_group_conflicts',
    help: 'Metric families that some member defines in another way; what it has counted in them is left out.'
  },
  unreadable: {
    type: 'gauge',
    name: 'fastify_latency_group_unreadable',
    help: 'Members and files of the group whose counts are left out because they could not be read.'
  }
} as const
