defmodule Mapp.Server do
  # Counts, and counts the bumps since it was upgraded; what it does beside that is demo.erl's.
  # shutdown: :infinity, so that DEMO_STOP_MS alone says how long a stop takes.
  use GenServer, shutdown: :infinity

  def start_link(_), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)
  def get, do: GenServer.call(__MODULE__, :get)
  def bump, do: GenServer.call(__MODULE__, :bump, :infinity)
  def state, do: GenServer.call(__MODULE__, :state, :infinity)
  def bumps, do: GenServer.call(__MODULE__, :bumps, :infinity)
  def sleep(ms), do: GenServer.cast(__MODULE__, {:sleep, ms})
  def ready, do: Mapp.V2.ready()

  def linger(ms) do
    spawn(fn ->
      Process.sleep(ms)
      :ok
    end)
  end

  @impl true
  def init(_) do
    :ok = :demo.init(:mapp)
    {:ok, {:v2, 0, 0}}
  end

  @impl true
  def handle_call(:get, _from, state), do: {:reply, state, state}
  def handle_call(:state, _from, state), do: {:reply, Mapp.V2.show(state), state}
  def handle_call(:bumps, _from, {:v2, _, bumps} = state), do: {:reply, bumps, state}
  def handle_call(:bump, _from, {:v2, n, bumps}), do: {:reply, n + 1, {:v2, n + 1, bumps + 1}}

  @impl true
  def handle_cast({:sleep, ms}, state) do
    Process.sleep(ms)
    {:noreply, state}
  end

  @impl true
  def handle_info(message, state) do
    :demo.handle(:mapp, message)
    {:noreply, state}
  end

  @impl true
  def terminate(_reason, _state), do: :demo.terminate(:mapp)

  @impl true
  def code_change({:down, _new}, {:v2, n, _bumps}, _extra), do: {:ok, {:v1, n}}
  def code_change(_old, {:v1, _} = state, _extra), do: {:ok, Mapp.V2.migrate(state)}
end
