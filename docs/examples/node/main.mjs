// One video over Kafka, from request to checked file, with @platformatic/kafka.
//
//     npm install
//     node main.mjs <bootstrap> <job_id> <duration_s> [<prefix>]
import { Consumer, FetchIsolationLevels, MessagesStreamModes, ProduceAcks, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'

const WAIT_S = 120
const [bootstrap, jobId, duration, prefix = 'reelbus'] = process.argv.slice(2)
if (duration === undefined) fail('usage: node main.mjs <bootstrap> <job_id> <duration_s> [<prefix>]')
const replies = `${prefix}.replies.default.v1`
const connection = { clientId: 'reelbus-example', bootstrapBrokers: bootstrap.split(',') }

// This client reads through a group: a fresh one, which commits nothing and starts at the end as it is now. A tenant may
// use groups whose names begin with that of its reply topic.
const isolationLevel = FetchIsolationLevels.READ_COMMITTED
const reader = new Consumer({ ...connection, groupId: `${replies}-${randomUUID()}`, isolationLevel, deserializers: stringDeserializers })
const ends = (await reader.listOffsets({ topics: [replies], isolationLevel })).get(replies)
const offsets = ends.map((offset, partition) => ({ topic: replies, partition, offset }))
const stream = await reader.consume({ topics: [replies], mode: MessagesStreamModes.MANUAL, offsets, autocommit: false })

const request = {
  job_id: jobId,
  shots: [{ prompt: 'a red circle moving left on a black background', duration_s: Number(duration) }],
  output: { width_px: 320, height_px: 180, fps: 12 },
  reply_topic: replies
}
const headers = {
  ce_specversion: '1.0',
  ce_id: jobId,
  ce_source: '/examples/node',
  ce_type: 'reelbus.jobs.requested.v1',
  traceparent: `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`,
  'content-type': 'application/json'
}
const writer = new Producer({ ...connection, serializers: stringSerializers, acks: ProduceAcks.ALL, idempotent: true })
await writer.send({ messages: [{ topic: `${prefix}.jobs.requested.standard.v1`, key: jobId, value: JSON.stringify(request), headers }] })
setTimeout(() => fail(`no result for ${jobId} after ${WAIT_S} s`), WAIT_S * 1000)

for await (const { key, value } of stream) {
  if (key !== jobId || value === undefined || value === null) continue
  const reply = JSON.parse(value)
  if (reply.type === 'rejected') fail(`rejected: ${reply.reason.message}`) // it names the field at fault
  if (reply.type === 'finished') {
    console.log(await check(reply))
    process.exit(0)
  }
}

async function check (reply) {
  if (reply.state !== 'completed') fail(`${jobId} ended ${reply.state}: ${reply.reason?.message ?? 'no reason given'}`)
  const file = reply.result.video.file
  const video = await readFile(new URL(file.uri)) // s3://bucket/key: GetObject of @aws-sdk/client-s3
  const sha256 = createHash('sha256').update(video).digest('hex')
  if (sha256 !== file.sha256 || video.length !== file.size_bytes) {
    fail(`${jobId}: the file is ${sha256}, ${video.length} bytes; the result says ${file.sha256}, ${file.size_bytes} bytes`)
  }
  return `ok ${jobId} ${sha256} ${video.length}`
}

function fail (message) {
  console.error(message)
  process.exit(1)
}
