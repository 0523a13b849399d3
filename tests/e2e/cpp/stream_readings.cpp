// Streams a vehicle's readings as a charger's firmware would: batches go out while acknowledgements come in, and never
// more than a window of them are without one, so that what may have to be sent again fits into memory.
//
// Usage: stream_readings HOST:PORT VEHICLE_ID FIRST_UNIX_S BATCHES READINGS_PER_BATCH WINDOW
// Prints what became of the readings as one line of JSON. Exit codes: 0 all is acknowledged; 1 it is not; 2 wrong usage.

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "wattstream/api/ingest/v1/ingest.grpc.pb.h"

namespace ingest = wattstream::api::ingest::v1;
using Stream = grpc::ClientReaderWriter<ingest::StreamReadingsRequest, ingest::StreamReadingsResponse>;

struct Plan {
  std::string vehicle_id;
  std::int64_t first_unix_s;
  std::uint64_t batches;
  std::uint64_t readings_per_batch;
  std::uint64_t window;
};

struct Totals {
  std::uint64_t acknowledged = 0;  // batches
  std::uint64_t stored = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t rejected = 0;
  bool in_order = true;
};

// The acknowledgements so far, which one thread counts and the other waits for.
class Acks {
 public:
  void Count(const ingest::StreamReadingsResponse& response) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const ingest::BatchAck& ack : response.acks()) {
      totals_.in_order &= ack.batch_id() == ++totals_.acknowledged;
      totals_.stored += ack.stored();
      totals_.duplicates += ack.duplicates();
      totals_.rejected += ack.rejected();
    }
    changed_.notify_one();
  }

  // No more will come.
  void End() {
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_one();
  }

  // Waits until fewer than `window` of the batches `sent` are without acknowledgement; false if that cannot be.
  bool WaitForRoom(std::uint64_t sent, std::uint64_t window) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || sent - totals_.acknowledged < window; });
    return !ended_;
  }

  // Only after End.
  const Totals& totals() const { return totals_; }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Totals totals_;
  bool ended_ = false;
};

// Batch `number`, from 1: a reading a second, each batch going on where the one before ended.
ingest::StreamReadingsRequest MakeBatch(const Plan& plan, std::uint64_t number) {
  ingest::StreamReadingsRequest batch;
  batch.set_batch_id(number);
  const std::uint64_t first = (number - 1) * plan.readings_per_batch;
  const double last = static_cast<double>(plan.batches * plan.readings_per_batch);
  for (std::uint64_t index = first; index < first + plan.readings_per_batch; ++index) {
    auto* reading = batch.add_readings()->mutable_vehicle();
    reading->set_vehicle_id(plan.vehicle_id);
    reading->mutable_recorded_at()->set_seconds(plan.first_unix_s + static_cast<std::int64_t>(index));
    reading->set_soc(20.0 + 60.0 * static_cast<double>(index + 1) / last);
    reading->set_kwh_delivered_dc(0.0125);
    reading->set_battery_temp(30.5);
  }
  return batch;
}

// Sends all batches; returns how many could be sent.
std::uint64_t SendAll(Stream& stream, const Plan& plan, Acks& acks) {
  std::uint64_t sent = 0;
  while (sent < plan.batches && acks.WaitForRoom(sent, plan.window) && stream.Write(MakeBatch(plan, sent + 1))) {
    ++sent;
  }
  stream.WritesDone();
  return sent;
}

int Run(const std::string& address, const Plan& plan) {
  const auto stub = ingest::IngestService::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  const auto stream = stub->StreamReadings(&context);

  Acks acks;
  std::thread reader([&] {
    ingest::StreamReadingsResponse response;
    while (stream->Read(&response)) acks.Count(response);
    acks.End();
  });
  const std::uint64_t sent = SendAll(*stream, plan, acks);
  reader.join();
  const grpc::Status status = stream->Finish();

  const Totals& totals = acks.totals();
  std::cout << "{\"sent\": " << sent * plan.readings_per_batch << ", \"stored\": " << totals.stored
            << ", \"duplicates\": " << totals.duplicates << ", \"rejected\": " << totals.rejected
            << ", \"acks_in_order\": " << (totals.in_order ? "true" : "false") << "}" << std::endl;
  if (!status.ok()) std::cerr << status.error_code() << ": " << status.error_message() << std::endl;
  return status.ok() && totals.acknowledged == plan.batches ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char** argv) try {
  if (argc != 7) throw std::invalid_argument("six arguments are needed");
  return Run(argv[1], {argv[2], std::stoll(argv[3]), std::stoull(argv[4]), std::stoull(argv[5]), std::stoull(argv[6])});
} catch (const std::logic_error& error) {
  std::cerr << "usage: stream_readings HOST:PORT VEHICLE_ID FIRST_UNIX_S BATCHES READINGS_PER_BATCH WINDOW: "
            << error.what() << std::endl;
  return 2;
}
