// One video over Kafka in Avro, from request to checked file, with Confluent's serializer and @platformatic/kafka.
//
//     npm install
//     node main.mjs <bootstrap> <registry> <job_id> <duration_s> [<prefix>]
//
// <registry>: URL of any registry that speaks Confluent's API; the stages use the same one, and `reelbus schemas push`
// has put the schemas there.
import { AvroDeserializer, AvroSerializer, SchemaRegistryClient, SerdeType } from '@confluentinc/schemaregistry'
import { Consumer, FetchIsolationLevels, MessagesStreamModes, ProduceAcks, Producer, stringSerializers } from '@platformatic/kafka'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'

const WAIT_S = 120
const [bootstrap, registry, jobId, duration, prefix = 'reelbus'] = process.argv.slice(2)
if (duration === undefined) fail('usage: node main.mjs <bootstrap> <registry> <job_id> <duration_s> [<prefix>]')
const requests = `${prefix}.jobs.requested.standard.v1`
const replies = `${prefix}.replies.default.v1`
const connection = { clientId: 'reelbus-example', bootstrapBrokers: bootstrap.split(',') }

// Subjects are record names. The schema in use is the registry's newest; fields that are left out get their defaults.
const schemas = new SchemaRegistryClient({ baseURLs: [registry] })
const serializer = new AvroSerializer(schemas, SerdeType.VALUE, {
  autoRegisterSchemas: false,
  useLatestVersion: true,
  subjectNameStrategy: () => 'reelbus.v1.JobRequest'
})
const deserializer = new AvroDeserializer(schemas, SerdeType.VALUE, {})

// This client reads through a group: a fresh one, which commits nothing and starts at the end as it is now. A tenant may
// use groups whose names begin with that of its reply topic.
const isolationLevel = FetchIsolationLevels.READ_COMMITTED
const reader = new Consumer({ ...connection, groupId: `${replies}-${randomUUID()}`, isolationLevel })
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
  ce_source: '/examples/node-avro',
  ce_type: 'reelbus.jobs.requested.v1',
  traceparent: `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`,
  'content-type': 'application/avro'
}
const { key: keySerializer, headerKey, headerValue } = stringSerializers
const writer = new Producer({
  ...connection, acks: ProduceAcks.ALL, idempotent: true, serializers: { key: keySerializer, headerKey, headerValue }
})
const value = await serializer.serialize(requests, request)
await writer.send({ messages: [{ topic: requests, key: jobId, value, headers }] })
setTimeout(() => fail(`no result for ${jobId} after ${WAIT_S} s`), WAIT_S * 1000)

for await (const { key, value } of stream) {
  if (key.toString() !== jobId || !value) continue
  const reply = await deserializer.deserialize(replies, value)
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
