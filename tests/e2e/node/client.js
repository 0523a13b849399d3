// Streams a vehicle's readings, from the protos as they are: nothing is generated. Batches go out while acknowledgements
// come in, and never more than a window of them are without one.
//
// Usage: node client.js PROTOS_FOLDER HOST:PORT VEHICLE_ID FIRST_UNIX_S BATCHES READINGS_PER_BATCH WINDOW
// Prints what became of the readings as one line of JSON. Exit codes: 0 all is acknowledged; 1 it is not; 2 wrong usage.
'use strict';

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

function newClient(protos, address) {
  const definition = protoLoader.loadSync('wattstream/api/ingest/v1/ingest.proto', {
    includeDirs: [protos],
    keepCase: true,
    longs: Number,
    defaults: true,
  });
  const { IngestService } = grpc.loadPackageDefinition(definition).wattstream.api.ingest.v1;
  return new IngestService(address, grpc.credentials.createInsecure());
}

// Batch `number`, from 1: a reading a second, each batch going on where the one before ended.
function makeBatch(plan, number) {
  const readings = Array.from({ length: plan.readingsPerBatch }, (_, offset) => {
    const index = (number - 1) * plan.readingsPerBatch + offset;
    return {
      vehicle: {
        vehicle_id: plan.vehicleId,
        recorded_at: { seconds: plan.firstUnixS + index },
        soc: 20 + (60 * (index + 1)) / (plan.batches * plan.readingsPerBatch),
        kwh_delivered_dc: 0.0125,
        battery_temp: 30.5,
      },
    };
  });
  return { batch_id: number, readings };
}

// Resolves to what became of the readings when all are acknowledged; rejects with the stream's error.
function streamReadings(client, plan) {
  return new Promise((resolve, reject) => {
    const totals = { sent: 0, stored: 0, duplicates: 0, rejected: 0, acks_in_order: true };
    let sent = 0;
    let acknowledged = 0;
    const stream = client.streamReadings({ deadline: Date.now() + 60_000 });

    function fillWindow() {
      while (sent < plan.batches && sent - acknowledged < plan.window) {
        sent += 1;
        stream.write(makeBatch(plan, sent));
        totals.sent += plan.readingsPerBatch;
        if (sent === plan.batches) stream.end();
      }
    }

    stream.on('data', ({ acks }) => {
      for (const ack of acks) {
        acknowledged += 1;
        totals.acks_in_order = totals.acks_in_order && ack.batch_id === acknowledged;
        totals.stored += ack.stored;
        totals.duplicates += ack.duplicates;
        totals.rejected += ack.rejected;
      }
      fillWindow();
    });
    stream.on('error', reject);
    stream.on('end', () => {
      if (acknowledged === plan.batches) resolve(totals);
      else reject(new Error(`${plan.batches - acknowledged} batches are not acknowledged`));
    });
    fillWindow();
  });
}

async function main([protos, address, vehicleId, ...counts]) {
  const [firstUnixS, batches, readingsPerBatch, window] = counts.map(Number);
  if (counts.length !== 4 || !counts.every((count) => Number.isSafeInteger(Number(count)) && count > 0)) {
    console.error(
      'usage: node client.js PROTOS_FOLDER HOST:PORT VEHICLE_ID FIRST_UNIX_S BATCHES READINGS_PER_BATCH WINDOW',
    );
    return 2;
  }
  const client = newClient(protos, address);
  try {
    console.log(JSON.stringify(await streamReadings(client, { vehicleId, firstUnixS, batches, readingsPerBatch, window })));
    return 0;
  } catch (error) {
    console.error(error.message);
    return 1;
  } finally {
    client.close();
  }
}

main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
