// BehaviorTree.CPP's timers on a clock that oracle.cpp moves: what is due runs inside advance(), by time and then by age.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

namespace BT
{
struct ManualClock
{
  using Handler = std::function<void(bool aborted)>;

  static std::map<std::pair<int64_t, uint64_t>, Handler>& timers() {
    static std::map<std::pair<int64_t, uint64_t>, Handler> all;  // by deadline and id
    return all;
  }

  static int64_t& now() {
    static int64_t ms = 0;
    return ms;
  }

  static void advance(int64_t ms) {
    now() += ms;
    while(!timers().empty() && timers().begin()->first.first <= now()) {
      Handler due = timers().begin()->second;
      timers().erase(timers().begin());
      due(false);
    }
  }
};

template <typename ClockT = std::chrono::steady_clock, typename DurationT = std::chrono::steady_clock::duration>
class TimerQueue
{
public:
  ~TimerQueue() { cancelAll(); }

  uint64_t add(std::chrono::milliseconds after, ManualClock::Handler handler) {
    static uint64_t last = 0;
    ManualClock::timers()[{ ManualClock::now() + after.count(), ++last }] = handler;
    mine_.insert(last);
    return last;
  }

  size_t cancel(uint64_t id) {
    for(auto it = ManualClock::timers().begin(); it != ManualClock::timers().end(); ++it) {
      if(it->first.second == id) {
        ManualClock::Handler gone = it->second;
        ManualClock::timers().erase(it);
        gone(true);
        return 1;
      }
    }
    return 0;
  }

  size_t cancelAll() {
    size_t n = 0;
    for(uint64_t id : mine_) n += cancel(id);
    mine_.clear();
    return n;
  }

private:
  std::set<uint64_t> mine_;
};
}  // namespace BT
