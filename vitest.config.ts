import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/kafka/shared.ts', 'test/support/elasticsearch/shared.ts'],
    // Real engines and real files: slow machines need the time, a hang still ends.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Engines use a core each; more workers than that only wait for one another.
    maxWorkers: 2,
    restoreMocks: true,
    unstubEnvs: true,
  },
})
