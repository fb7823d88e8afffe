// For PM2: `pm2 start ecosystem.config.cjs`, and later `pm2 reload shop`. In cluster mode the processes of an application
// are scraped as one without any option; in fork mode those are that have one `server.group`, as in instance.js.
module.exports = {
  apps: [{
    name: 'shop',
    script: 'instance.js',
    exec_mode: 'cluster',
    instances: 4,
    // The process before goes when the new one has said that it is ready. PM2 would wait for that for 3 seconds only.
    wait_ready: true,
    listen_timeout: 60_000,
    // How long requests in progress may take, in milliseconds, when a process is to go. By default 1600.
    kill_timeout: 15_000
  }]
}
